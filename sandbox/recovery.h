/*
 * After a restart of the daemon: what the run directory says was here is found again in the kernel.
 *
 * A workload is taken back where its group is still the one of its record (same boot, same inode). A
 * container is taken back through its monitor's socket; where its monitor is gone, its page and the
 * kernel say how it ended. What is of another boot, or whose group is gone or another's, is only
 * cleaned up; nothing is ever signalled by a number from a record.
 *
 * What is of nobody is found, removed and counted (sandboxd.orphans): control groups, run directories, mounts of
 * volumes, descriptors that systemd kept, layers. Of other kinds nothing can be left: namespaces, and the links in
 * them, are in no place but the descriptors and processes of workloads and of this daemon; every mount but a
 * volume's is detached, or in the namespace of a launch; and which ids are taken is only what the workloads that
 * were taken back have.
 */
#pragma once

struct sandboxd;

/* Never fails as a whole: what cannot be taken back is told in the log and removed. */
void recovery_run(struct sandboxd *host);
