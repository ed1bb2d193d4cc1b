#include "sandbox/registry.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/outflow.h"
#include "sandbox/reaper.h"
#include "sandbox/sandboxd.h"

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct workload *)a)->id, ((const struct workload *)b)->id);
}

struct workload *registry_find(struct registry *registry, const char *id)
{
	struct workload key;
	struct workload **at;

	if (strlen(id) > NAME_ID_MAX)
		return NULL;
	strcpy(key.id, id);
	at = tfind(&key, &registry->by_id, compare);
	return at ? *at : NULL;
}

struct workload *registry_add(struct registry *registry, const char *id, uint64_t instance)
{
	struct workload *workload;
	struct workload **at;

	if (strlen(id) > NAME_ID_MAX)
		return NULL;
	workload = calloc(1, sizeof(*workload));
	if (!workload)
		return NULL;
	strcpy(workload->id, id);
	workload->instance = instance;
	workload->namespaces = (struct namespace_set)NAMESPACE_SET_EMPTY;
	workload->run_fd = -1;
	workload->freeze_fd = -1;
	LIST_INIT(&workload->containers);
	at = tsearch(workload, &registry->by_id, compare);
	if (!at || *at != workload) {
		free(workload);
		return NULL;
	}
	registry->n_workloads++;
	return workload;
}

static void workload_free(void *p)
{
	struct workload *workload = p;

	while (!LIST_EMPTY(&workload->containers))
		container_free(LIST_FIRST(&workload->containers));
	sd_event_source_disable_unref(workload->freeze_source);
	sd_event_source_disable_unref(workload->freeze_timer);
	fd_close(&workload->freeze_fd);
	taskgroup_free(workload->group);
	namespace_set_done(&workload->namespaces);
	volumes_done(&workload->volumes);
	fd_close(&workload->run_fd);
	free(workload);
}

void registry_remove(struct registry *registry, struct workload *workload)
{
	(void)tdelete(workload, &registry->by_id, compare);
	registry->n_workloads--;
	workload_free(workload);
}

void registry_clear(struct registry *registry)
{
	tdestroy(registry->by_id, workload_free);
	*registry = (struct registry){ 0 };
}

struct walk {
	int (*func)(struct workload *workload, void *userdata);
	void *userdata;
	int r;
};

static void visit(const void *node, VISIT order, void *closure)
{
	struct walk *walk = closure;

	if ((order == postorder || order == leaf) && walk->r == 0)
		walk->r = walk->func(*(struct workload *const *)node, walk->userdata);
}

int registry_walk(const struct registry *registry,
		  int (*func)(struct workload *workload, void *userdata), void *userdata)
{
	struct walk walk = { func, userdata, 0 };

	twalk_r(registry->by_id, visit, &walk);
	return walk.r;
}

struct container *workload_find_container(struct workload *workload, const char *name,
					  uint32_t attempt)
{
	struct container *container;

	LIST_FOREACH (container, &workload->containers, link)
		if (container->attempt == attempt && strcmp(container->name, name) == 0)
			return container;
	return NULL;
}

bool container_has_ended(const struct container *container)
{
	return container->state == PAGE_EXITED || container->state == PAGE_FAILED;
}

size_t workload_count_running(const struct workload *workload)
{
	const struct container *container;
	size_t n = 0;

	LIST_FOREACH (container, &workload->containers, link)
		n += !container_has_ended(container);
	return n;
}

static void monitor_init(struct monitor *monitor, struct sandboxd *host,
			 struct container *container, struct session *session)
{
	*monitor = (struct monitor){ .host = host,
				     .container = container,
				     .session = session,
				     .control_fd = -1,
				     .first_pidfd = -1 };
}

static void monitor_done(struct monitor *monitor)
{
	if (monitor->pid)
		reaper_forget(monitor->host->reaper, monitor->pid, monitor);
	if (monitor->first_pid)
		reaper_forget(monitor->host->reaper, monitor->first_pid, monitor);
	sd_event_source_disable_unref(monitor->control_source);
	sd_event_source_disable_unref(monitor->first_source);
	fd_close(&monitor->control_fd);
	fd_close(&monitor->first_pidfd);
}

struct container *container_new(struct sandboxd *host, struct workload *workload, const char *name,
				uint32_t attempt)
{
	struct container *container = calloc(1, sizeof(*container));

	if (!container)
		return NULL;
	container->workload = workload;
	(void)snprintf(container->name, sizeof(container->name), "%s", name);
	container->attempt = attempt;
	container->state = PAGE_STARTING;
	container->run_fd = -1;
	lifeline_init(&container->lifeline);
	monitor_init(&container->monitor, host, container, NULL);
	LIST_INIT(&container->sessions);
	LIST_INSERT_HEAD(&workload->containers, container, link);
	workload->n_containers++;
	return container;
}

void container_free(struct container *container)
{
	if (!container)
		return;
	while (!LIST_EMPTY(&container->sessions))
		session_free(LIST_FIRST(&container->sessions));
	LIST_REMOVE(container, link);
	container->workload->n_containers--;
	monitor_done(&container->monitor);
	sd_event_source_disable_unref(container->kill_timer);
	sd_event_source_disable_unref(container->successor_timer);
	outflow_end(container);
	lifeline_done(&container->lifeline);
	taskgroup_free(container->group);
	fd_close(&container->run_fd);
	free(container->settings.json);
	free(container->settings.layers);
	for (size_t i = 0; i < container->n_warnings; i++)
		free(container->warnings[i]);
	free(container);
}

struct session *session_new(struct container *container, uint64_t id, bool probe)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	session->id = id;
	session->probe = probe;
	monitor_init(&session->monitor, container->monitor.host, container, session);
	LIST_INSERT_HEAD(&container->sessions, session, link);
	if (probe)
		container->n_probes++;
	else
		container->n_sessions++;
	return session;
}

struct session *container_find_session(struct container *container, uint64_t id)
{
	struct session *session;

	LIST_FOREACH (session, &container->sessions, link)
		if (session->id == id)
			return session;
	return NULL;
}

void session_free(struct session *session)
{
	LIST_REMOVE(session, link);
	if (session->probe)
		session->monitor.container->n_probes--;
	else
		session->monitor.container->n_sessions--;
	monitor_done(&session->monitor);
	free(session);
}

void settings_filter_request(const struct container_settings *settings, struct filter_request *ret)
{
	*ret = (struct filter_request){
		.source = settings->filter_source,
		.json = settings->json,
		.json_length = settings->json ? strlen(settings->json) : 0,
		.capabilities = settings->capabilities,
		.listener = true,
	};
}
