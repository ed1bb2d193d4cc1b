#include "sandbox/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/failpoint.h"
#include "proto/quantity.h"
#include "sandbox/path.h"

#define CONTAINER_NAME "container"
#define JSON_NAME      "seccomp.json"

#define OF_WORKLOAD(name)  offsetof(struct record_workload, name)
#define OF_CONTAINER(name) offsetof(struct record_container, name)

static const struct config_key workload_keys[] = {
	{ "Workload", "Version", CONFIG_UINT, OF_WORKLOAD(version), "0" },
	{ "Workload", "BootId", CONFIG_STRING, OF_WORKLOAD(boot_id) },
	{ "Workload", "Workload", CONFIG_STRING, OF_WORKLOAD(workload) },
	{ "Workload", "Instance", CONFIG_UINT, OF_WORKLOAD(instance), "0" },
	{ "Workload", "Band", CONFIG_UINT, OF_WORKLOAD(band), "0", .max = BAND_COUNT - 1 },
	{ "Workload", "HostNetwork", CONFIG_BOOL, OF_WORKLOAD(host_network), "no" },
	{ "Workload", "HostIds", CONFIG_BOOL, OF_WORKLOAD(host_ids), "no" },
	{ "Workload", "IdFirst", CONFIG_UINT, OF_WORKLOAD(id_first), "0", .max = UINT32_MAX },
	{ "Workload", "GroupId", CONFIG_UINT, OF_WORKLOAD(group_id), "0" },
	{ "Workload", "Hostname", CONFIG_STRING, OF_WORKLOAD(hostname) },
	{ "Workload", "Sysctls", CONFIG_LIST, OF_WORKLOAD(sysctls) },
	{ "Workload", "Volumes", CONFIG_LIST, OF_WORKLOAD(volumes) },
};

static const struct config_key container_keys[] = {
	{ "Container", "Version", CONFIG_UINT, OF_CONTAINER(version), "0" },
	{ "Container", "BootId", CONFIG_STRING, OF_CONTAINER(boot_id) },
	{ "Container", "Container", CONFIG_STRING, OF_CONTAINER(container) },
	{ "Container", "Attempt", CONFIG_UINT, OF_CONTAINER(attempt), "0", .max = UINT32_MAX },
	{ "Container", "GroupId", CONFIG_UINT, OF_CONTAINER(group_id), "0" },
	{ "Container", "FirstPid", CONFIG_UINT, OF_CONTAINER(first_pid), "0", .max = INT32_MAX },
	{ "Container", "Capabilities", CONFIG_UINT, OF_CONTAINER(capabilities), "0" },
	{ "Container", "FilterSource", CONFIG_UINT, OF_CONTAINER(filter_source), "1", .min = 1,
	  .max = FILTER_UNCONFINED },
	{ "Container", "Rlimits", CONFIG_LIST, OF_CONTAINER(rlimits) },
	{ "Container", "Terminal", CONFIG_BOOL, OF_CONTAINER(terminal), "no" },
	{ "Container", "LogMaxFileBytes", CONFIG_UINT, OF_CONTAINER(log_max_file_bytes),
	  "10485760" },
	{ "Container", "LogMaxFiles", CONFIG_UINT, OF_CONTAINER(log_max_files), "5",
	  .max = UINT32_MAX },
	{ "Container", "Layers", CONFIG_LIST, OF_CONTAINER(layers) },
};

static const struct config_table workload_table =
	CONFIG_TABLE_OF_RELEASES("A workload.", struct record_workload, workload_keys);
static const struct config_table container_table =
	CONFIG_TABLE_OF_RELEASES("A container.", struct record_container, container_keys);

static int write_failed(const char *name, struct err *err)
{
	return err_set(err, errno == ENOSPC ? ERR_EXHAUSTED : ERR_INTERNAL, errno,
		       "cannot write the record %s: %m", name);
}

static int write_record(int run_fd, const char *name, const struct config_table *table,
			const void *record, struct err *err)
{
	cleanup_fd int fd = -1;
	cleanup_file FILE *file = NULL;
	char fresh[64];

	FAILPOINT_RETURN("sandboxd.record.begin", err);
	(void)snprintf(fresh, sizeof(fresh), "%s.new", name);
	fd = openat(run_fd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return write_failed(name, err);
	file = fdopen(fd, "w");
	if (!file)
		return write_failed(name, err);
	(void)take_fd(&fd);
	FAILPOINT("sandboxd.record.write");
	if (config_print_settings(table, record, file) < 0 || fflush(file) != 0 ||
	    renameat(run_fd, fresh, run_fd, name) < 0)
		return write_failed(name, err);
	return 0;
}

int record_write_workload(int run_fd, const struct record_workload *record, struct err *err)
{
	return write_record(run_fd, RECORD_WORKLOAD_NAME, &workload_table, record, err);
}

static int write_json(int run_fd, const char *json, struct err *err)
{
	cleanup_fd int fd = openat(run_fd, JSON_NAME,
				   O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	size_t length = strlen(json);

	if (fd < 0 || write(fd, json, length) != (ssize_t)length)
		return write_failed(JSON_NAME, err);
	return 0;
}

static void free_items(struct config_list *list)
{
	free(list->items);
}

/* From words with a space between them, which are cut, to a list that borrows them. */
static int split_layers(char *words, struct config_list *ret_list, struct err *err)
{
	char *rest = words, *word;

	while ((word = strsep(&rest, " "))) {
		char **items = reallocarray(ret_list->items, ret_list->n + 1, sizeof(*items));

		if (!items)
			return err_oom(err);
		ret_list->items = items;
		items[ret_list->n++] = word;
	}
	return 0;
}

static int join_layers(const struct config_list *list, char **ret_words, struct err *err)
{
	size_t length = 0;
	char *words, *end;

	for (size_t i = 0; i < list->n; i++)
		length += strlen(list->items[i]) + 1;
	if (length == 0)
		return 0;
	words = malloc(length);
	if (!words)
		return err_oom(err);
	end = words;
	for (size_t i = 0; i < list->n; i++)
		end = stpcpy(stpcpy(end, list->items[i]), i + 1 < list->n ? " " : "");
	*ret_words = words;
	return 0;
}

int record_write_container(int run_fd, const char *boot_id, const struct container *container,
			   struct err *err)
{
	const struct container_settings *settings = &container->settings;
	char texts[REGISTRY_RLIMITS_MAX][64];
	char *items[REGISTRY_RLIMITS_MAX + 1] = { NULL };
	struct record_container record = {
		.version = RECORD_VERSION,
		.boot_id = (char *)boot_id,
		.container = (char *)container->name,
		.attempt = container->attempt,
		.group_id = container->group_id,
		.first_pid = (uint64_t)container->monitor.first_pid,
		.capabilities = settings->capabilities,
		.filter_source = settings->filter_source,
		.rlimits = { items, settings->n_rlimits },
		.terminal = settings->tty,
		.log_max_file_bytes = settings->log_max_file_bytes,
		.log_max_files = settings->log_max_files,
	};
	cleanup_free char *words = settings->layers ? strdup(settings->layers) : NULL;
	cleanup(free_items) struct config_list layers = { 0 };
	int r = words ? split_layers(words, &layers, err) : 0;

	if (settings->layers && !words)
		return err_oom(err);
	record.layers = layers;
	for (size_t i = 0; i < settings->n_rlimits; i++) {
		(void)snprintf(texts[i], sizeof(texts[i]), "%d:%ju:%ju",
			       settings->rlimits[i].resource,
			       (uintmax_t)settings->rlimits[i].value.rlim_cur,
			       (uintmax_t)settings->rlimits[i].value.rlim_max);
		items[i] = texts[i];
	}
	if (r == 0 && settings->json)
		r = write_json(run_fd, settings->json, err);
	return r < 0 ? r : write_record(run_fd, CONTAINER_NAME, &container_table, &record, err);
}

static int check_version(uint64_t version, const char *path, struct err *err)
{
	if (version != RECORD_VERSION)
		return err_set(err, ERR_INVALID, EPROTO,
			       "%s: a record of version %" PRIu64
			       ", and this program knows %d only",
			       path, version, RECORD_VERSION);
	return 0;
}

int record_read_workload(const char *path, struct record_workload *ret, struct err *err)
{
	cleanup_free char *file = NULL;
	int r;

	if (asprintf(&file, "%s/" RECORD_WORKLOAD_NAME, path) < 0)
		return err_oom(err);
	r = config_load(&workload_table, file, CONFIG_MUST_EXIST, ret, err);
	return r < 0 ? r : check_version(ret->version, file, err);
}

static int parse_rlimits(const struct config_list *list, struct container_settings *settings,
			 struct err *err)
{
	settings->n_rlimits = 0;
	for (size_t i = 0; i < list->n && i < REGISTRY_RLIMITS_MAX; i++) {
		struct identity_limit *limit = &settings->rlimits[i];
		uintmax_t soft;
		uintmax_t hard;

		if (sscanf(list->items[i], "%d:%ju:%ju", &limit->resource, &soft, &hard) != 3)
			return err_set(err, ERR_INVALID, EINVAL, "%s is no limit", list->items[i]);
		limit->value = (struct rlimit){ soft, hard };
		settings->n_rlimits++;
	}
	return 0;
}

int record_read_container(const char *path, int run_fd, struct record_container *ret_record,
			  struct container_settings *ret_settings, struct err *err)
{
	cleanup_free char *file = NULL;
	size_t length;
	int r;

	if (asprintf(&file, "%s/" CONTAINER_NAME, path) < 0)
		return err_oom(err);
	r = config_load(&container_table, file, CONFIG_MUST_EXIST, ret_record, err);
	if (r == 0)
		r = check_version(ret_record->version, file, err);
	if (r == 0)
		r = parse_rlimits(&ret_record->rlimits, ret_settings, err);
	if (r < 0)
		return r;
	ret_settings->capabilities = ret_record->capabilities;
	ret_settings->filter_source = (enum filter_source)ret_record->filter_source;
	ret_settings->tty = ret_record->terminal;
	ret_settings->log_max_file_bytes = ret_record->log_max_file_bytes;
	ret_settings->log_max_files = (uint32_t)ret_record->log_max_files;
	r = join_layers(&ret_record->layers, &ret_settings->layers, err);
	if (r < 0)
		return r;
	if (ret_settings->filter_source == FILTER_OCI)
		r = path_read_file(run_fd, JSON_NAME, FILTER_JSON_MAX, &ret_settings->json, &length,
				   err);
	return r;
}

void record_workload_done(struct record_workload *record)
{
	config_free(&workload_table, record);
}

void record_container_done(struct record_container *record)
{
	config_free(&container_table, record);
}

int record_parse_volume(char *item, struct volume_wish *ret_wish, struct err *err)
{
	struct volume_wish wish = { .name = item };
	char *kind = strchr(item, ':');
	char *rest = kind ? strchr(kind + 1, ':') : NULL;

	if (!rest)
		return err_set(err, ERR_INVALID, EINVAL, "%s is no volume", item);
	*kind++ = '\0';
	*rest++ = '\0';
	if (strcmp(kind, "host") == 0)
		wish.host_directory = rest;
	else if (sscanf(rest, "%" SCNu64 ":%" SCNu64, &wish.tmpfs_bytes, &wish.tmpfs_inodes) != 2)
		return err_set(err, ERR_INVALID, EINVAL, "volume %s has no size", item);
	*ret_wish = wish;
	return 0;
}

int record_make_dir(int dir_fd, const char *name, struct err *err)
{
	int fd;

	if (mkdirat(dir_fd, name, 0700) < 0)
		return err_set(err,
			       errno == EEXIST   ? ERR_EXISTS
			       : errno == ENOSPC ? ERR_EXHAUSTED
						 : ERR_INTERNAL,
			       errno, "cannot make the run directory %s: %m", name);
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		int r = err_set(err, ERR_INTERNAL, errno, "cannot open the run directory %s: %m",
				name);
		(void)unlinkat(dir_fd, name, AT_REMOVEDIR);
		return r;
	}
	return fd;
}

void record_remove_dir(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		fd_close(&fd);
		return;
	}
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' || (entry->d_name[1] && entry->d_name[1] != '.'))
			(void)unlinkat(fd, entry->d_name, 0);
	(void)closedir(dir);
	(void)unlinkat(dir_fd, name, AT_REMOVEDIR);
}
