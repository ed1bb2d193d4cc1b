#include "sandbox/layer_jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/failpoint.h"
#include "proto/log.h"
#include "sandbox/agent_link.h"
#include "sandbox/layer_work.h"
#include "sandbox/leftovers.h"
#include "sandbox/reaper.h"
#include "sandbox/sandboxd.h"

#define AT_A_TIME    3
#define WAITING_MAX  64
#define ASKERS_MAX   8
#define TRIES_MAX    3
#define GROUP        "layers.0"     /* no workload's: their instances are not 0 */
#define MEMORY_BYTES (192ULL << 20) /* with what waits for the disk; its heap is far below */
#define PIDS_MAX     4

enum kind { UNPACK, VERIFY, REMOVE };

struct job {
	TAILQ_ENTRY(job) link;
	struct layer_jobs *jobs;
	enum kind kind;
	struct layer_work work;
	struct layer layer; /* VERIFY */
	struct asker askers[ASKERS_MAX];
	size_t n_askers;
	bool begun;
	unsigned int tries; /* of children before, that were killed */
	pid_t pid;          /* of the child, 0 when it has ended */
	int answer_fd;
	struct namespace_set namespaces;
	struct taskgroup *group;
};

struct layer_jobs {
	struct sandboxd *host;
	int program_fd;
	TAILQ_HEAD(, job) list; /* those that run, and those that wait, in the order they came */
	size_t running;
	size_t n;
	unsigned int count; /* of groups */
	bool stopped;
	struct taskgroup *group;
};

struct layer_jobs *layer_jobs_new(struct sandboxd *host, int program_fd)
{
	struct layer_jobs *jobs = calloc(1, sizeof(*jobs));

	if (!jobs)
		return NULL;
	jobs->host = host;
	jobs->program_fd = program_fd;
	TAILQ_INIT(&jobs->list);
	return jobs;
}

/* The ids of the namespaces are free when nothing is left in the group. */
static void let_go(struct job *job)
{
	uint32_t id_first = job->namespaces.id_first;
	struct err err = { 0 };

	namespace_set_done(&job->namespaces);
	job->namespaces = (struct namespace_set)NAMESPACE_SET_EMPTY;
	if (job->group)
		(void)leftovers_remove(job->jobs->host->leftovers, take_ptr(&job->group), id_first,
				       &err);
	else if (id_first)
		idranges_give_back(job->jobs->host->ranges, id_first);
}

static void job_free(struct job *job)
{
	struct layer_jobs *jobs = job->jobs;

	TAILQ_REMOVE(&jobs->list, job, link);
	jobs->n--;
	if (job->pid > 0) {
		reaper_forget(jobs->host->reaper, job->pid, job);
		reaper_kill_child(job->pid);
	}
	let_go(job);
	fd_close(&job->answer_fd);
	fd_close(&job->work.blob_fd);
	free(job);
}

void layer_jobs_stop(struct layer_jobs *jobs)
{
	struct err err = { 0 };

	if (!jobs)
		return;
	jobs->stopped = true;
	while (!TAILQ_EMPTY(&jobs->list))
		job_free(TAILQ_FIRST(&jobs->list));
	if (jobs->group)
		(void)leftovers_remove(jobs->host->leftovers, take_ptr(&jobs->group), 0, &err);
}

void layer_jobs_free(struct layer_jobs *jobs)
{
	layer_jobs_stop(jobs);
	free(jobs);
}

/* ---- the group ---- */

static int make_top(struct layer_jobs *jobs, struct err *err)
{
	struct taskgroup_limits limits;
	char path[TASKGROUP_PATH_MAX];
	int r;

	if (jobs->group)
		return 0;
	taskgroup_limits_init(&limits);
	r = taskgroup_path(path, BAND_BATCH, GROUP, NULL, err);
	return r < 0 ? r
		     : taskgroup_create(jobs->host->hierarchy, path, TASKGROUP_WORKLOAD, &limits,
					&jobs->group, err);
}

static int make_group(struct job *job, struct err *err)
{
	struct layer_jobs *jobs = job->jobs;
	struct taskgroup_limits limits;
	char path[TASKGROUP_PATH_MAX], name[32];
	int r = make_top(jobs, err);

	if (r < 0)
		return r;
	taskgroup_limits_init(&limits);
	limits.memory_max_bytes = MEMORY_BYTES;
	limits.pids_max = PIDS_MAX;
	(void)snprintf(name, sizeof(name), "unpack.%u", ++jobs->count);
	r = taskgroup_path(path, BAND_BATCH, GROUP, name, err);
	return r < 0 ? r
		     : taskgroup_create(jobs->host->hierarchy, path, TASKGROUP_CONTAINER, &limits,
					&job->group, err);
}

/* ---- the child ---- */

static _Noreturn void work(struct job *job, pid_t daemon, int answer_fd)
{
	static struct unpack_answer answer;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != daemon)
		_exit(1); /* it died before that: the next one knows nothing of us */
	(void)prctl(PR_SET_NAME, "berth-layers");
	/* The daemon's signals are blocked, and nobody reads them here. */
	(void)signal(SIGPIPE, SIG_IGN);
	switch (job->kind) {
	case UNPACK:
		layer_work_unpack(&job->work, &answer);
		break;
	case VERIFY:
		layer_work_verify(&job->work, &answer);
		break;
	case REMOVE:
		FAILPOINT("sandboxd.layer.remove");
		answer.r = layer_store_remove_tree(job->work.store_fd, job->work.name);
		if (answer.r < 0)
			(void)err_set(&answer.err, ERR_INTERNAL, -answer.r,
				      "cannot remove all of %s from LayerDirectory: %m",
				      job->work.name);
		break;
	}
	(void)!write(answer_fd, &answer, sizeof(answer));
	_exit(0);
}

static void on_end(pid_t pid, int code, int status, void *userdata);

static int start(struct job *job, struct err *err)
{
	struct sandboxd *host = job->jobs->host;
	pid_t daemon, pid;
	int pair[2];
	int r = 0;

	job->begun = true;
	if (job->kind != REMOVE) {
		r = namespace_pool_take(host->pool, false, false, &job->namespaces, err);
		if (r == 0)
			r = make_group(job, err);
		if (r < 0)
			return r;
	}
	job->work.store_fd = host->layers.fd;
	job->work.program_fd = job->jobs->program_fd;
	job->work.namespaces = &job->namespaces;
	job->work.group = job->group;
	if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot make a pipe: %m");
	daemon = getpid();
	pid = fork();
	if (pid == 0)
		work(job, daemon, pair[1]);
	(void)close(pair[1]);
	job->answer_fd = pair[0];
	if (pid < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot fork: %m");
	FAILPOINT("sandboxd.layer.forked");
	job->pid = pid;
	r = reaper_watch(host->reaper, pid, on_end, job, err);
	if (r == 0)
		job->jobs->running++;
	return r;
}

/* ---- answers ---- */

static void answer_failure(struct job *job, const struct err *err)
{
	for (size_t i = 0; i < job->n_askers; i++)
		agent_link_reply_failure(job->jobs->host->link, job->askers[i], err);
}

static void answer_done(struct job *job, const struct unpack_answer *answer)
{
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	Berth__Sandbox__V1__UnpackLayerResult unpacked =
		BERTH__SANDBOX__V1__UNPACK_LAYER_RESULT__INIT;
	Berth__Sandbox__V1__VerifyLayerResult verified =
		BERTH__SANDBOX__V1__VERIFY_LAYER_RESULT__INIT;

	if (job->kind == UNPACK) {
		unpacked.bytes = answer->bytes;
		unpacked.entries = answer->entries;
		reply.result_case = BERTH__SANDBOX__V1__REPLY__RESULT_UNPACK_LAYER;
		reply.unpack_layer = &unpacked;
	} else if (job->kind == VERIFY) {
		verified.intact = !answer->damaged;
		verified.what = answer->damaged ? (char *)answer->err.text : (char *)"";
		reply.result_case = BERTH__SANDBOX__V1__REPLY__RESULT_VERIFY_LAYER;
		reply.verify_layer = &verified;
	}
	for (size_t i = 0; i < job->n_askers; i++)
		agent_link_reply(job->jobs->host->link, job->askers[i], &reply, NULL, 0);
}

static int adopt(struct job *job, const struct unpack_answer *answer, struct err *err)
{
	struct layer layer = { .cut = answer->cut,
			       .bytes = answer->bytes,
			       .entries = answer->entries };

	(void)snprintf(layer.hex, sizeof(layer.hex), "%s", job->work.hex);
	(void)snprintf(layer.manifest, sizeof(layer.manifest), "%s", answer->manifest);
	return layer_store_add(&job->jobs->host->layers, &layer, err);
}

static int remove_again(struct layer_jobs *jobs, const char *name, unsigned int tries,
			struct err *err);

/* A layer that has its name, and of which the index does not know: its child died, or we have no memory for it.
 * What is on the disk is what the index says. */
static void forget_unpacked(struct job *job)
{
	int store_fd = job->jobs->host->layers.fd;
	char name[LAYER_NAME_MAX];
	struct err err = { 0 };

	layer_store_fresh_name("old", job->work.hex, name);
	if (renameat(store_fd, job->work.hex, store_fd, name) < 0)
		return; /* the rule: there is none */
	if (remove_again(job->jobs, name, 0, &err) < 0)
		log_failure(LOG_WARNING, NULL, &err);
}

/* What a child that was killed left: others begin anew, but not for ever. */
static void clean_up(struct job *job)
{
	struct err err = { 0 };

	if (job->kind == VERIFY)
		return;
	if (job->kind == UNPACK)
		forget_unpacked(job);
	if (job->tries == TRIES_MAX)
		(void)err_set(
			&err, ERR_INTERNAL, ECHILD,
			"%s stays in LayerDirectory until berth-sandboxd starts anew: %u children that removed it were killed",
			job->work.name, job->tries);
	else if (remove_again(job->jobs, job->work.name, job->tries + 1, &err) == 0)
		return;
	log_failure(LOG_WARNING, NULL, &err);
}

static void start_more(struct layer_jobs *jobs)
{
	struct job *job, *next;

	for (job = TAILQ_FIRST(&jobs->list); job && jobs->running < AT_A_TIME; job = next) {
		struct err err = { 0 };

		next = TAILQ_NEXT(job, link);
		if (job->begun || start(job, &err) == 0)
			continue;
		answer_failure(job, &err);
		job_free(job);
	}
}

static void on_end(pid_t pid, int code, int status, void *userdata)
{
	static struct unpack_answer answer;
	struct job *job = userdata;
	struct layer_jobs *jobs = job->jobs;
	struct err err = { 0 };

	FAILPOINT("sandboxd.layer.ended");
	job->pid = 0;
	jobs->running--;
	if (read(job->answer_fd, &answer, sizeof(answer)) != sizeof(answer)) {
		answer = (struct unpack_answer){ 0 };
		answer.r = err_set(&answer.err, ERR_INTERNAL, ECHILD,
				   "the child that did it was killed (%s %d)",
				   code == CLD_EXITED ? "status" : "signal", status);
		clean_up(job);
	}
	if (answer.r >= 0 && job->kind == UNPACK && adopt(job, &answer, &err) < 0) {
		answer.r = -ENOMEM;
		answer.err = err;
		forget_unpacked(job);
	}
	if (answer.r < 0)
		answer_failure(job, &answer.err);
	else
		answer_done(job, &answer);
	job_free(job);
	start_more(jobs);
}

/* ---- what is asked ---- */

static struct job *job_new(struct layer_jobs *jobs, enum kind kind, struct asker asker,
			   struct err *err)
{
	struct job *job;

	if (jobs->stopped) {
		(void)err_set(err, ERR_UNAVAILABLE, ESHUTDOWN, "berth-sandboxd is ending");
		return NULL;
	}
	if (jobs->n >= WAITING_MAX && asker.connection) {
		(void)err_set(err, ERR_EXHAUSTED, EAGAIN,
			      "%zu jobs on layers are under way or wait: try again later", jobs->n);
		return NULL;
	}
	job = calloc(1, sizeof(*job));
	if (!job) {
		(void)err_oom(err);
		return NULL;
	}
	job->jobs = jobs;
	job->kind = kind;
	job->answer_fd = -1;
	job->work.blob_fd = -1;
	job->namespaces = (struct namespace_set)NAMESPACE_SET_EMPTY;
	if (asker.connection)
		job->askers[job->n_askers++] = asker;
	TAILQ_INSERT_TAIL(&jobs->list, job, link);
	jobs->n++;
	return job;
}

/* The job is answered by itself from here on, also where it cannot start. */
static int job_begin(struct job *job)
{
	start_more(job->jobs);
	return 0;
}

static struct job *find(const struct layer_jobs *jobs, enum kind kind, const char *hex)
{
	struct job *job;

	TAILQ_FOREACH(job, &jobs->list, link)
	if (job->kind == kind && strcmp(job->work.hex, hex) == 0)
		return job;
	return NULL;
}

bool layer_jobs_has(const struct layer_jobs *jobs, const char *hex)
{
	return find(jobs, UNPACK, hex) || find(jobs, VERIFY, hex);
}

static int check_program(const struct layer_jobs *jobs, struct err *err)
{
	return jobs->program_fd >= 0 ? 0
				     : err_set(err, ERR_UNSUPPORTED, ENOENT,
					       "berth-unpack is not installed (--unpack=)");
}

int layer_jobs_unpack(struct layer_jobs *jobs, const struct unpack_order *order, int *blob_fd,
		      struct asker asker, struct err *err)
{
	struct job *job = find(jobs, UNPACK, order->digest);
	int r = check_program(jobs, err);

	if (r < 0)
		return r;
	if (job && job->n_askers == ASKERS_MAX)
		return err_set(err, ERR_EXHAUSTED, EAGAIN, "%d requests wait for this layer",
			       ASKERS_MAX);
	if (job) {
		job->askers[job->n_askers++] = asker;
		return 0;
	}
	job = job_new(jobs, UNPACK, asker, err);
	if (!job)
		return -EAGAIN;
	job->work.order = *order;
	job->work.blob_fd = take_fd(blob_fd);
	memcpy(job->work.hex, order->digest, sizeof(job->work.hex));
	layer_store_fresh_name("new", job->work.hex, job->work.name);
	return job_begin(job);
}

int layer_jobs_sweep(struct layer_jobs *jobs, struct err *err)
{
	const struct layer_store *store = &jobs->host->layers;
	int r = 0;

	for (size_t i = 0; r == 0 && i < store->n_strangers; i++)
		r = layer_jobs_remove(jobs, store->strangers[i], (struct asker){ 0 }, err);
	return r;
}

int layer_jobs_verify(struct layer_jobs *jobs, const struct layer *layer, struct asker asker,
		      struct err *err)
{
	struct job *job;
	int r = check_program(jobs, err);

	if (r < 0)
		return r;
	job = job_new(jobs, VERIFY, asker, err);
	if (!job)
		return -EAGAIN;
	job->work.order = (struct unpack_order){ .task = UNPACK_VERIFY };
	memcpy(job->work.order.digest, layer->manifest, sizeof(job->work.order.digest));
	memcpy(job->work.hex, layer->hex, sizeof(job->work.hex));
	(void)snprintf(job->work.name, sizeof(job->work.name), "%s", layer->hex);
	return job_begin(job);
}

static struct job *removal_new(struct layer_jobs *jobs, const char *name, struct asker asker,
			       struct err *err)
{
	struct job *job = job_new(jobs, REMOVE, asker, err);

	if (job)
		(void)snprintf(job->work.name, sizeof(job->work.name), "%s", name);
	return job;
}

int layer_jobs_remove(struct layer_jobs *jobs, const char *name, struct asker asker,
		      struct err *err)
{
	struct job *job = removal_new(jobs, name, asker, err);

	return job ? job_begin(job) : -EAGAIN;
}

/* Begun with the next that can begin. */
static int remove_again(struct layer_jobs *jobs, const char *name, unsigned int tries,
			struct err *err)
{
	struct job *job = removal_new(jobs, name, (struct asker){ 0 }, err);

	if (!job)
		return -EAGAIN;
	job->tries = tries;
	return 0;
}
