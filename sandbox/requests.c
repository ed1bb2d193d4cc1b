#include "sandbox/requests.h"

#include <errno.h>
#include <string.h>

#include "proto/log.h"
#include "proto/names.h"
#include "proto/packet.h"
#include "proto/wirecheck.h"
#include "sandbox/agent_link.h"
#include "sandbox/call.h"
#include "sandbox/sandboxd.h"

#define REQUEST_MEMORY (4U << 20)

enum target {
	TARGET_HOST,
	TARGET_NEW_WORKLOAD,          /* its names are checked, nothing is looked up */
	TARGET_WORKLOAD,              /* workload and instance */
	TARGET_WORKLOAD_OR_GONE,      /* the same, or an id that is not there at all */
	TARGET_NEW_CONTAINER,         /* a ref whose workload exists */
	TARGET_CONTAINER,             /* a ref */
	TARGET_WORKLOAD_OR_CONTAINER, /* a ref, perhaps without a container */
};

#define STARTING (1U << PAGE_STARTING)
#define RUNNING  (1U << PAGE_RUNNING)
#define EXITED   (1U << PAGE_EXITED)
#define FAILED   (1U << PAGE_FAILED)
#define ANY      (STARTING | RUNNING | EXITED | FAILED)

#define VERB(name) BERTH__SANDBOX__V1__REQUEST__VERB_##name

static const struct verb {
	Berth__Sandbox__V1__Request__VerbCase verb;
	const char *name;
	enum target target;
	unsigned int states; /* of the container, that permit it */
	bool before_hello;
	call_handler *handler;
	size_t descriptors; /* that come with it */
} verbs[] = {
	{ VERB(HELLO), "Hello", TARGET_HOST, 0, true, call_hello },
	{ VERB(INVENTORY), "Inventory", TARGET_HOST, 0, false, call_inventory },
	{ VERB(CREATE_WORKLOAD), "CreateWorkload", TARGET_NEW_WORKLOAD, 0, false,
	  call_create_workload },
	{ VERB(LAUNCH), "Launch", TARGET_NEW_CONTAINER, 0, false, call_launch },
	{ VERB(OPEN_GATE), "OpenGate", TARGET_CONTAINER, STARTING, false, call_open_gate },
	{ VERB(SIGNAL), "Signal", TARGET_CONTAINER, RUNNING, false, call_signal },
	{ VERB(KILL), "Kill", TARGET_WORKLOAD_OR_CONTAINER, ANY, false, call_kill },
	{ VERB(FREEZE), "Freeze", TARGET_WORKLOAD, 0, false, call_freeze },
	{ VERB(UPDATE_LIMITS), "UpdateLimits", TARGET_WORKLOAD_OR_CONTAINER, RUNNING, false,
	  call_update_limits },
	{ VERB(EXEC), "Exec", TARGET_CONTAINER, RUNNING, false, call_exec },
	{ VERB(SOCKET), "Socket", TARGET_CONTAINER, RUNNING, false, call_socket },
	{ VERB(ATTACH), "Attach", TARGET_CONTAINER, STARTING | RUNNING, false, call_attach },
	{ VERB(REMOVE_CONTAINER), "RemoveContainer", TARGET_CONTAINER, EXITED | FAILED, false,
	  call_remove_container },
	{ VERB(REMOVE_WORKLOAD), "RemoveWorkload", TARGET_WORKLOAD_OR_GONE, 0, false,
	  call_remove_workload },
	{ VERB(WATCH_PRESSURE), "WatchPressure", TARGET_HOST, 0, false, call_watch_pressure },
	{ VERB(RECLAIM), "Reclaim", TARGET_WORKLOAD, 0, false, call_reclaim },
	{ VERB(SQUEEZE), "Squeeze", TARGET_WORKLOAD, 0, false, call_squeeze },
	{ VERB(LIMIT_WORKLOADS), "LimitWorkloads", TARGET_HOST, 0, false, call_limit_workloads },
	{ VERB(UNPACK_LAYER), "UnpackLayer", TARGET_HOST, 0, false, call_unpack_layer, 1 },
	{ VERB(LIST_LAYERS), "ListLayers", TARGET_HOST, 0, false, call_list_layers },
	{ VERB(REMOVE_LAYER), "RemoveLayer", TARGET_HOST, 0, false, call_remove_layer },
	{ VERB(VERIFY_LAYER), "VerifyLayer", TARGET_HOST, 0, false, call_verify_layer },
};

static const struct verb *find_verb(Berth__Sandbox__V1__Request__VerbCase number)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (verbs[i].verb == number)
			return &verbs[i];
	return NULL;
}

/* Whom a request is about, from whichever of its shapes has it. */
struct names {
	const char *workload;
	uint64_t instance;
	const char *container; /* "" where the request has none */
	uint32_t attempt;
};

static struct names names_of_ref(const Berth__Sandbox__V1__ContainerRef *ref)
{
	if (!ref)
		return (struct names){ "", 0, "", 0 };
	return (struct names){ ref->workload, ref->instance, ref->container, ref->attempt };
}

static struct names names_of(const Berth__Sandbox__V1__Request *request)
{
	switch (request->verb_case) {
	case VERB(CREATE_WORKLOAD):
		return (struct names){ request->create_workload->workload,
				       request->create_workload->instance, "", 0 };
	case VERB(FREEZE):
		return (struct names){ request->freeze->workload, request->freeze->instance, "",
				       0 };
	case VERB(RECLAIM):
		return (struct names){ request->reclaim->workload, request->reclaim->instance, "",
				       0 };
	case VERB(SQUEEZE):
		return (struct names){ request->squeeze->workload, request->squeeze->instance, "",
				       0 };
	case VERB(REMOVE_WORKLOAD):
		return (struct names){ request->remove_workload->workload,
				       request->remove_workload->instance, "", 0 };
	case VERB(LAUNCH):
		return names_of_ref(request->launch->ref);
	case VERB(OPEN_GATE):
		return names_of_ref(request->open_gate->ref);
	case VERB(SIGNAL):
		return names_of_ref(request->signal->ref);
	case VERB(KILL):
		return names_of_ref(request->kill->ref);
	case VERB(UPDATE_LIMITS):
		return names_of_ref(request->update_limits->ref);
	case VERB(EXEC):
		return names_of_ref(request->exec->ref);
	case VERB(ATTACH):
		return names_of_ref(request->attach->ref);
	case VERB(SOCKET):
		return names_of_ref(request->socket->ref);
	case VERB(REMOVE_CONTAINER):
		return names_of_ref(request->remove_container->ref);
	default:
		return (struct names){ "", 0, "", 0 };
	}
}

static int check_names(const struct verb *verb, const struct names *names, struct err *err)
{
	int r;

	if (verb->target == TARGET_HOST)
		return 0;
	r = names_check_workload_id(names->workload, err);
	if (r < 0)
		return err_prefix(err, r, "workload");
	if (names->instance == 0)
		return err_set(err, ERR_INVALID, EINVAL, "instance: must not be 0");
	if (verb->target == TARGET_NEW_WORKLOAD || verb->target == TARGET_WORKLOAD ||
	    verb->target == TARGET_WORKLOAD_OR_GONE ||
	    (verb->target == TARGET_WORKLOAD_OR_CONTAINER && !names->container[0]))
		return 0;
	r = names_check_container(names->container, err);
	return r < 0 ? err_prefix(err, r, "container") : 0;
}

static int find_workload(struct call *call, const struct names *names, struct err *err)
{
	struct workload *workload = registry_find(&call->host->registry, names->workload);

	if (!workload)
		return err_set(err, ERR_NOT_FOUND, ENOENT, "no workload %s", names->workload);
	if (workload->instance != names->instance)
		return err_set(err, ERR_NOT_FOUND, ENOENT,
			       "workload %s is here as instance %llu, not %llu", names->workload,
			       (unsigned long long)workload->instance,
			       (unsigned long long)names->instance);
	call->workload = workload;
	return 0;
}

static const char *state_name(enum page_state state)
{
	static const char *const text[] = { [PAGE_STARTING] = "is starting",
					    [PAGE_RUNNING] = "is running",
					    [PAGE_EXITED] = "has ended",
					    [PAGE_FAILED] = "was never started" };

	return text[state];
}

static int find_container(struct call *call, const struct verb *verb, const struct names *names,
			  struct err *err)
{
	struct container *container = workload_find_container(call->workload, names->container,
							      names->attempt);

	if (!container)
		return err_set(err, ERR_NOT_FOUND, ENOENT,
			       "workload %s has no container %s of attempt %u", names->workload,
			       names->container, names->attempt);
	if (!(verb->states & (1U << container->state)))
		return err_set(err, ERR_PRECONDITION, EBUSY, "container %s of workload %s %s",
			       names->container, names->workload, state_name(container->state));
	call->container = container;
	return 0;
}

static int find_target(struct call *call, const struct verb *verb, struct err *err)
{
	const struct names names = names_of(call->request);
	int r = check_names(verb, &names, err);

	if (r < 0 || verb->target == TARGET_HOST || verb->target == TARGET_NEW_WORKLOAD)
		return r;
	if (verb->target == TARGET_WORKLOAD_OR_GONE &&
	    !registry_find(&call->host->registry, names.workload))
		return 0;
	r = find_workload(call, &names, err);
	if (r < 0 || verb->target == TARGET_WORKLOAD || verb->target == TARGET_WORKLOAD_OR_GONE ||
	    verb->target == TARGET_NEW_CONTAINER || !names.container[0])
		return r;
	return find_container(call, verb, &names, err);
}

/* What would be cut off by the end of the daemon. */
static bool begins(const struct verb *verb)
{
	return verb->verb == VERB(CREATE_WORKLOAD) || verb->verb == VERB(LAUNCH) ||
	       verb->verb == VERB(EXEC) || verb->verb == VERB(UNPACK_LAYER);
}

const char *requests_why_no_starts(const struct sandboxd *host)
{
	return host->monitor_mismatch[0] ? host->monitor_mismatch : host->agent_mismatch;
}

static int carry_out(struct call *call, const struct verb *verb, struct err *err)
{
	int r;

	if (!verb->before_hello && !agent_link_is_ready(call->host->link))
		return err_set(err, ERR_PRECONDITION, EPROTO,
			       "Hello must come first, and be understood");
	if (call->host->stopping && begins(verb))
		return err_set(err, ERR_UNAVAILABLE, ESHUTDOWN,
			       "berth-sandboxd is ending, and begins nothing any more");
	if (begins(verb) && requests_why_no_starts(call->host)[0])
		return err_set(err, ERR_PRECONDITION, EPROTO, "%s",
			       requests_why_no_starts(call->host));
	r = find_target(call, verb, err);
	return r < 0 ? r : verb->handler(call, err);
}

static void answer(struct call *call, const struct verb *verb, int r, struct err *err)
{
	Berth__Sandbox__V1__Reply done = BERTH__SANDBOX__V1__REPLY__INIT;
	const struct names names = names_of(call->request);
	const struct log_about about = { .workload = names.workload,
					 .container = names.container,
					 .request = call->asker.request };

	if (r < 0) {
		(void)err_prefix(err, r, "%s", verb->name);
		log_failure(LOG_DEBUG, &about, err);
		agent_link_reply_failure(call->host->link, call->asker, err);
		return;
	}
	log_event(LOG_DEBUG, &about, "%s", verb->name);
	if (r == 0)
		agent_link_reply(call->host->link, call->asker, &done, NULL, 0);
}

int requests_handle(uint64_t connection, struct packet *packet, void *sandboxd, struct err *err)
{
	cleanup_arena struct arena arena;
	struct call call = { .host = sandboxd, .arena = &arena, .packet = packet };
	const struct verb *verb;
	struct err failure = { 0 };
	int r;

	arena_init(&arena, REQUEST_MEMORY);
	call.request = wire_unpack(&berth__sandbox__v1__request__descriptor, packet->bytes,
				   packet->length, &arena, err);
	if (!call.request)
		return -EBADMSG;
	verb = find_verb(call.request->verb_case);
	if (!verb)
		return err_set(err, ERR_INVALID, EPROTO,
			       "a request without a verb that this release knows");
	if (packet->n_fds != verb->descriptors)
		return err_set(err, ERR_INVALID, EPROTO,
			       "%s came with %zu descriptors, and %zu are right", verb->name,
			       packet->n_fds, verb->descriptors);
	call.asker = (struct asker){ connection, call.request->id };
	r = carry_out(&call, verb, &failure);
	answer(&call, verb, r, &failure);
	return 0;
}
