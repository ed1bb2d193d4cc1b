#include "agent/settings.h"

#include <errno.h>
#include <stddef.h>
#include <syslog.h>

#include "agent/grpc/server.h"
#include "agent/image/reference.h"
#include "agent/image/registry.h"
#include "agent/pressure/pressure.h"

static const struct config_choice log_levels[] = {
	{ "error", LOG_ERR }, { "warning", LOG_WARNING }, { "notice", LOG_NOTICE },
	{ "info", LOG_INFO }, { "debug", LOG_DEBUG },     { 0 },
};

static int check_address(const char *value, struct err *err)
{
	if (grpc_server_is_address(value))
		return 0;
	return err_set(err, ERR_INVALID, EINVAL,
		       "\"%s\" is no address with a port, as in 192.0.2.1:7443 or [::]:7443",
		       value);
}

#define AT(member) offsetof(struct settings, member)

static const struct config_key keys[] = {
	{ "Listen", "Socket", CONFIG_PATH, AT(socket), "/run/berth/berthd.sock",
	  "The unix socket for gRPC. Ignored where systemd passes the socket (berthd.socket)." },
	{ "Listen", "SocketGroup", CONFIG_STRING, AT(socket_group), "berth",
	  "The group that owns the unix socket. Root and the members of this group are operators." },
	{ "Listen", "Address", CONFIG_LIST, AT(addresses), "",
	  "TCP addresses for gRPC with mutual TLS: 192.0.2.1:7443 or [::]:7443. Needs the three files of [TLS].",
	  .max = 16, .check = check_address },
	{ "Listen", "MaxConnections", CONFIG_UINT, AT(max_connections), "1024",
	  "Connections at a time; further ones are closed.", .min = 16, .max = 65536 },
	{ "Listen", "MaxCalls", CONFIG_UINT, AT(max_calls), "4096",
	  "Calls at a time, of all connections together; further ones are refused.", .min = 16,
	  .max = 1048576 },
	{ "Listen", "DrainTimeout", CONFIG_DURATION_MS, AT(drain_ms), "5s",
	  "How long calls in flight may go on when berthd is asked to end.", .min = 0,
	  .max = 600000 },

	{ "TLS", "Certificate", CONFIG_PATH, AT(certificate), "",
	  "PEM: this host's certificate, then its intermediates. Read again on SIGHUP." },
	{ "TLS", "Key", CONFIG_PATH, AT(key), "",
	  "PEM: its private key, not readable by others than its owner and group." },
	{ "TLS", "ClientCA", CONFIG_PATH, AT(client_ca), "",
	  "PEM: the authorities that sign the certificates of those who may connect." },

	{ "Access", "Schedulers", CONFIG_LIST, AT(schedulers), "",
	  "Names in client certificates (DNS or URI subject alternative names, or the common name where there are none) that may do everything but Exec and Attach.",
	  .max = 1024 },
	{ "Access", "Operators", CONFIG_LIST, AT(operators), "",
	  "Names in client certificates that may do everything.", .max = 1024 },
	{ "Access", "Observers", CONFIG_LIST, AT(observers), "",
	  "Names in client certificates that may look: GetNode, Get, List, WatchEvents, StreamTelemetry.",
	  .max = 1024 },

	{ "Sandbox", "Socket", CONFIG_PATH, AT(sandbox_socket), "/run/berth/sandboxd.sock",
	  "Where berth-sandboxd listens." },

	{ "Sandbox", "LogDirectory", CONFIG_PATH, AT(log_directory), "/var/log/berth/workloads",
	  "Where berth-sandboxd keeps the workloads' log files (LogDirectory in sandboxd.conf): berthd confines itself to reading there." },

	{ "Node", "ReserveCpu", CONFIG_CPU_MILLIS, AT(reserve_cpu_millis), "100m",
	  "Processor time that is not given to workloads: 500m is half a core.", .max = 1000000 },
	{ "Node", "ReserveMemory", CONFIG_BYTES, AT(reserve_memory_bytes), "256Mi",
	  "Memory that is not given to workloads." },
	{ "Node", "ReservePids", CONFIG_UINT, AT(reserve_pids), "1024",
	  "Processes and threads that are not given to workloads." },
	{ "Node", "MaxWorkloads", CONFIG_UINT, AT(max_workloads), "2048",
	  "Workloads at a time, the ended ones that nobody has deleted not counted.", .min = 1,
	  .max = 8192 },

	{ "Node", "EnforceReserve", CONFIG_BOOL, AT(enforce_reserve), "yes",
	  "Whether the kernel keeps ReserveMemory for the host: all workloads together are limited to the rest, whatever their own limits add up to." },

	{ "Pressure", "Enabled", CONFIG_BOOL, AT(pressure_enabled), "yes",
	  "Whether anything is done when the host runs short of memory: the kernel tells that tasks wait for it (PSI), too little is available, and Berth takes steps, the mildest first, of best-effort workloads first, then batch, then production; critical ones are never touched." },
	{ "Pressure", "Stall", CONFIG_DURATION_MS, AT(pressure_stall_ms), "150ms",
	  "For how long within Window some task must have waited for memory.", .min = 1,
	  .max = 10000 },
	{ "Pressure", "Window", CONFIG_DURATION_MS, AT(pressure_window_ms), "1s",
	  "Where berth-sandboxd lacks CAP_SYS_RESOURCE the kernel permits 2s and its multiples only, and the same share of that is taken.",
	  .min = 500, .max = 10000 },
	{ "Pressure", "ActBelow", CONFIG_UINT, AT(pressure_act_below), "10",
	  "Percent of the host's memory, or of what all workloads together may have: steps are taken only while less is available. A workload that stalls below its own limit is no shortage.",
	  .min = 1, .max = 90 },
	{ "Pressure", "RelieveAbove", CONFIG_UINT, AT(pressure_relieve_above), "15",
	  "Percent: what was done is undone once more than this has been available, without a stall, for RelieveAfter. Not less than ActBelow.",
	  .min = 1, .max = 95 },
	{ "Pressure", "RelieveAfter", CONFIG_DURATION_MS, AT(pressure_relieve_after_ms), "30s",
	  "See RelieveAbove.", .min = 1000, .max = 3600000 },
	{ "Pressure", "FreezeAtMost", CONFIG_DURATION_MS, AT(pressure_freeze_max_ms), "5m",
	  "Nothing is frozen for longer: it is killed then, where that is among its steps and too little is available still, or goes on.",
	  .min = 1000, .max = 86400000 },
	{ "Pressure", "StepsBestEffort", CONFIG_LIST, AT(pressure_best_effort),
	  "reclaim squeeze freeze kill",
	  "What may be done to best-effort workloads: reclaim (the kernel takes pages back), squeeze (memory.high is lowered to the working set; cgroup v2), freeze, kill. Always in this order.",
	  .max = 4, .check = pressure_check_step },
	{ "Pressure", "StepsBatch", CONFIG_LIST, AT(pressure_batch), "reclaim squeeze freeze kill",
	  "The same for batch workloads, once nothing is left to do to best-effort ones.", .max = 4,
	  .check = pressure_check_step },
	{ "Pressure", "StepsProduction", CONFIG_LIST, AT(pressure_production), "reclaim",
	  "The same for production workloads, last of all.", .max = 4,
	  .check = pressure_check_step },

	{ "Events", "Keep", CONFIG_UINT, AT(keep_events), "16384",
	  "Events that a watcher can go back to.", .min = 256, .max = 1048576 },

	{ "Records", "Keep", CONFIG_UINT, AT(keep_records), "4096",
	  "Terminal records (how each container ended) to keep, whatever becomes of their workloads. Beyond it the oldest goes that a scheduler has acknowledged (AckRecords), and where there is none the oldest of all, which is counted in GetNode.",
	  .min = 64, .max = 1048576 },
	{ "Records", "KeepBytes", CONFIG_BYTES, AT(keep_record_bytes), "8Mi",
	  "The same limit in bytes. They are kept in memory and on disk.", .min = 1 << 20,
	  .max = 1 << 30 },
	{ "Records", "KeepAge", CONFIG_DURATION_MS, AT(keep_record_ms), "24h",
	  "How long after the end an acknowledged record is kept, counted while the host is up. One that nobody has acknowledged knows no age.",
	  .min = 1000, .max = UINT64_C(1000) * 3600 * 24 * 366 },

	{ "Store", "Durable", CONFIG_BOOL, AT(store_durable), "yes",
	  "Keep what berthd was asked for and what became of it on disk, so that a restart loses nothing and stops nothing. With no, a restart ends every workload." },
	{ "Store", "Directory", CONFIG_PATH, AT(store_directory), "/var/lib/berth/agent",
	  "Where it is kept: a directory of berthd's own." },

	{ "Images", "Registries", CONFIG_LIST, AT(images_registries), "",
	  "Registries that images may be pulled from, as their names have them: docker.io registry.example:5000. Empty: all. What is said here is read at start.",
	  .max = 256, .check = registry_check_host },
	{ "Images", "RequireDigests", CONFIG_LIST, AT(images_require_digests), "",
	  "Registries of which images may only be had by a digest in their names (app@sha256:...), as whoever placed them saw them: docker.io. \"*\" is all of them.",
	  .max = 256, .check = registry_check_host_or_all },
	{ "Images", "Mirrors", CONFIG_LIST, AT(images_mirrors), "",
	  "What to ask before a registry itself: docker.io=mirror.example:5000. Of several for one registry the first is asked first. Mirrors get no credentials.",
	  .max = 256, .check = registry_check_mirror },
	{ "Images", "Credentials", CONFIG_PATH, AT(images_credentials),
	  "/etc/berth/registries.json",
	  "Names and passwords, in the form of docker's config.json (\"auths\"); root's, and for root and berthd's group alone to read. Without the file there are none. It is read at each pull." },
	{ "Images", "Authorities", CONFIG_LIST, AT(images_authorities), "",
	  "Certificates of private authorities, beside those that the host trusts: registry.example=/etc/berth/ca.pem",
	  .max = 256, .check = registry_check_authority },
	{ "Images", "PlainHTTP", CONFIG_LIST, AT(images_plain_http), "",
	  "Registries that are spoken with without TLS: whoever is on the way reads and changes what they say. Images with a digest in their names are still verified.",
	  .max = 256, .check = registry_check_host },
	{ "Images", "Proxy", CONFIG_STRING, AT(images_proxy), "",
	  "Proxy for all registries: http://proxy.example:3128. That of berthd's environment is not looked at." },
	{ "Images", "NoProxy", CONFIG_STRING, AT(images_no_proxy), "",
	  "Hosts that are reached without it, joined by commas." },
	{ "Images", "ParallelLayers", CONFIG_UINT, AT(images_parallel_layers), "4",
	  "Layers that are fetched at once, of all pulls together.", .min = 1, .max = 64 },
	{ "Images", "StallTimeout", CONFIG_DURATION_MS, AT(images_stall_ms), "30s",
	  "A registry that sends nothing for so long has failed, and is tried again. There is no limit for a pull as a whole.",
	  .min = 1000, .max = 3600000 },
	{ "Images", "KeepFree", CONFIG_BYTES, AT(images_keep_free_bytes), "1Gi",
	  "Of the disk of [Store] Directory, below which images are kept: what pulls must leave free.",
	  .max = UINT64_C(1) << 50 },
	{ "Images", "CollectAbove", CONFIG_UINT, AT(images_collect_above), "85",
	  "Percent of that disk: when it is so full, whatever fills it, images that no workload needs are removed, the least recently used first, until it is below CollectBelow. 100: never.",
	  .min = 1, .max = 100 },
	{ "Images", "CollectBelow", CONFIG_UINT, AT(images_collect_below), "80",
	  "See CollectAbove, which is more, or both are 100.", .min = 1, .max = 100 },
	{ "Images", "UnusedFor", CONFIG_DURATION_MS, AT(images_unused_ms), "0",
	  "An image that no workload needed for so long is removed. 0: none is for that.",
	  .max = UINT64_C(1000) * 3600 * 24 * 3660 },
	{ "Images", "Pinned", CONFIG_LIST, AT(images_pinned), "",
	  "Images that are not removed for either reason: registry.example/team/base:1", .max = 256,
	  .check = reference_check },

	{ "Telemetry", "SampleInterval", CONFIG_DURATION_MS, AT(sample_interval_ms), "1s",
	  "How often each container is sampled when no reader asks for a shorter interval.",
	  .min = 100, .max = 60000 },

	{ "Log", "Level", CONFIG_ENUM, AT(log_level), "info",
	  "How much to say; debug has a line for each call.", .choices = log_levels },
};

static int do_not_go_together(size_t ret_members[static 2], size_t first, size_t second,
			      struct err *err, const char *why)
{
	ret_members[0] = first;
	ret_members[1] = second;
	return err_set(err, ERR_INVALID, EINVAL, "%s", why);
}

bool settings_have_tls(const struct settings *settings)
{
	return settings->certificate[0] && settings->key[0] && settings->client_ca[0];
}

static int check_settings(const void *data, size_t ret_members[static 2], struct err *err)
{
	const struct settings *settings = data;

	if (settings->pressure_stall_ms > settings->pressure_window_ms)
		return do_not_go_together(ret_members, AT(pressure_stall_ms),
					  AT(pressure_window_ms), err,
					  "Stall is longer than Window");
	if (settings->pressure_relieve_above < settings->pressure_act_below)
		return do_not_go_together(ret_members, AT(pressure_relieve_above),
					  AT(pressure_act_below), err,
					  "RelieveAbove is less than ActBelow");
	if (settings->images_collect_below > settings->images_collect_above)
		return do_not_go_together(ret_members, AT(images_collect_below),
					  AT(images_collect_above), err,
					  "CollectBelow is more than CollectAbove");
	if (settings->addresses.n && !settings_have_tls(settings))
		return do_not_go_together(
			ret_members, AT(addresses), AT(certificate), err,
			"TCP needs Certificate, Key and ClientCA in [TLS]; there is none without client certificates");
	return 0;
}

const struct config_table settings_table =
	CONFIG_TABLE_CHECKED("What berthd, the agent of this host, reads. Read again on SIGHUP.",
			     struct settings, keys, check_settings);
