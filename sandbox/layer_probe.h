/*
 * Whether containers can run from layers on this host: found out at the start by doing it, as it depends on the
 * kernel, on the file system that the store of layers is on, and on what the daemon may do.
 */
#pragma once

struct sandboxd;

/* Say so with features_found(). What cannot be tried now, as all ids are taken, stays as features_probe() has it. */
void layer_probe(const struct sandboxd *host);
