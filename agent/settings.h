/*
 * What /etc/berth/berthd.conf and its drop-ins say. The table in settings.c is what documents every key,
 * and what the shipped file is printed from (berthd --print-default-config).
 */
#pragma once

#include "proto/config.h"

struct settings {
	/* [Listen] */
	char *socket;
	char *socket_group;
	struct config_list addresses;
	uint64_t max_connections;
	uint64_t max_calls;
	uint64_t drain_ms;
	/* [TLS] */
	char *certificate;
	char *key;
	char *client_ca;
	/* [Access] */
	struct config_list schedulers;
	struct config_list operators;
	struct config_list observers;
	/* [Sandbox] */
	char *sandbox_socket;
	char *log_directory;
	/* [Node] */
	uint64_t reserve_cpu_millis;
	uint64_t reserve_memory_bytes;
	uint64_t reserve_pids;
	uint64_t max_workloads;
	bool enforce_reserve;
	/* [Pressure] */
	bool pressure_enabled;
	uint64_t pressure_stall_ms;
	uint64_t pressure_window_ms;
	uint64_t pressure_act_below;
	uint64_t pressure_relieve_above;
	uint64_t pressure_relieve_after_ms;
	uint64_t pressure_freeze_max_ms;
	struct config_list pressure_best_effort;
	struct config_list pressure_batch;
	struct config_list pressure_production;
	/* [Events] */
	uint64_t keep_events;
	/* [Records] */
	uint64_t keep_records;
	uint64_t keep_record_bytes;
	uint64_t keep_record_ms;
	/* [Store] */
	bool store_durable;
	char *store_directory;
	/* [Images] */
	uint64_t images_keep_free_bytes;
	uint64_t images_parallel_layers;
	uint64_t images_stall_ms;
	uint64_t images_collect_above;
	uint64_t images_collect_below;
	uint64_t images_unused_ms;
	char *images_credentials;
	char *images_proxy;
	char *images_no_proxy;
	struct config_list images_registries;
	struct config_list images_require_digests;
	struct config_list images_plain_http;
	struct config_list images_mirrors;
	struct config_list images_authorities;
	struct config_list images_pinned;
	/* [Telemetry] */
	uint64_t sample_interval_ms;
	/* [Log] */
	int log_level;
};

extern const struct config_table settings_table;

/* Whether [TLS] names all three files, without which there is no TCP. */
bool settings_have_tls(const struct settings *settings);

#define SETTINGS_PATH "/etc/berth/berthd.conf"
