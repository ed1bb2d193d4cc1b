#include "played_disk.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	sqlite3_vfs vfs;
	sqlite3_vfs *real;
	const char *name;
	unsigned int kinds;
	size_t skip;
	size_t times;
	int number;
	size_t failures;
	int last_errno;
	bool hold;
	size_t held;
	bool records;
	struct played_op *ops;
	size_t n_ops;
	size_t room;
} disk = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

struct file {
	sqlite3_file base; /* first */
	char name[32];
	sqlite3_file real; /* last: it goes on behind this struct */
};

static sqlite3_file *real_of(sqlite3_file *file)
{
	return &((struct file *)file)->real;
}

/* ---- the plan ------------------------------------------------------------------------------------- */

/* With the lock held. The errno that this operation is to fail with, or 0. */
static int planned(const char *name, enum played_op_kind kind)
{
	if (!(disk.kinds & kind) || (disk.name && strcmp(disk.name, name) != 0))
		return 0;
	if (disk.skip) {
		disk.skip--;
		return 0;
	}
	if (disk.times && --disk.times == 0)
		disk.kinds = 0;
	disk.failures++;
	disk.last_errno = disk.number;
	return disk.number;
}

static void remember(const struct played_op *op)
{
	struct played_op *copy;

	if (disk.n_ops == disk.room) {
		disk.room = disk.room ? disk.room * 2 : 256;
		disk.ops = reallocarray(disk.ops, disk.room, sizeof(*disk.ops));
		if (!disk.ops)
			abort();
	}
	copy = &disk.ops[disk.n_ops++];
	*copy = *op;
	if (!op->n)
		return;
	copy->bytes = malloc(op->n);
	if (!copy->bytes)
		abort();
	memcpy(copy->bytes, op->bytes, op->n);
}

/* 0, or the errno to fail with. */
static int pass(const char *name, enum played_op_kind kind, uint64_t offset, const void *bytes,
		size_t n)
{
	struct played_op op = { .kind = kind, .offset = offset, .n = n, .bytes = (uint8_t *)bytes };
	int number;

	(void)snprintf(op.name, sizeof(op.name), "%s", name);
	(void)pthread_mutex_lock(&disk.lock);
	while (kind == OP_SYNC && disk.hold) {
		disk.held++;
		(void)pthread_cond_broadcast(&disk.changed);
		(void)pthread_cond_wait(&disk.changed, &disk.lock);
		disk.held--;
	}
	number = planned(name, kind);
	if (disk.records && !number)
		remember(&op);
	(void)pthread_mutex_unlock(&disk.lock);
	errno = number;
	return number;
}

/* ---- one file ------------------------------------------------------------------------------------- */

static int on_close(sqlite3_file *file)
{
	return real_of(file)->pMethods->xClose(real_of(file));
}

static int on_read(sqlite3_file *file, void *bytes, int n, sqlite3_int64 offset)
{
	return real_of(file)->pMethods->xRead(real_of(file), bytes, n, offset);
}

static int on_write(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 offset)
{
	int number = pass(((struct file *)file)->name, OP_WRITE, (uint64_t)offset, bytes,
			  (size_t)n);

	if (number) /* as SQLite's own does */
		return number == ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
	return real_of(file)->pMethods->xWrite(real_of(file), bytes, n, offset);
}

static int on_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	if (pass(((struct file *)file)->name, OP_TRUNCATE, (uint64_t)size, NULL, 0))
		return SQLITE_IOERR_TRUNCATE;
	return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int on_sync(sqlite3_file *file, int flags)
{
	if (pass(((struct file *)file)->name, OP_SYNC, 0, NULL, 0))
		return SQLITE_IOERR_FSYNC;
	return real_of(file)->pMethods->xSync(real_of(file), flags);
}

static int on_file_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
	return real_of(file)->pMethods->xFileSize(real_of(file), ret_size);
}

static int on_lock(sqlite3_file *file, int level)
{
	return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int on_unlock(sqlite3_file *file, int level)
{
	return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int on_check_lock(sqlite3_file *file, int *ret)
{
	return real_of(file)->pMethods->xCheckReservedLock(real_of(file), ret);
}

static int on_control(sqlite3_file *file, int op, void *argument)
{
	if (op == SQLITE_FCNTL_LAST_ERRNO && disk.last_errno) {
		*(int *)argument = disk.last_errno;
		return SQLITE_OK;
	}
	return real_of(file)->pMethods->xFileControl(real_of(file), op, argument);
}

static int on_sector_size(sqlite3_file *file)
{
	return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int on_characteristics(sqlite3_file *file)
{
	return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

/* Version 1: no shared memory, no mmap: the store needs neither. */
static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = on_close,
	.xRead = on_read,
	.xWrite = on_write,
	.xTruncate = on_truncate,
	.xSync = on_sync,
	.xFileSize = on_file_size,
	.xLock = on_lock,
	.xUnlock = on_unlock,
	.xCheckReservedLock = on_check_lock,
	.xFileControl = on_control,
	.xSectorSize = on_sector_size,
	.xDeviceCharacteristics = on_characteristics,
};

/* ---- all files ------------------------------------------------------------------------------------ */

static const char *last_part(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash ? slash + 1 : path ? path : "";
}

static int on_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags,
		   int *ret_flags)
{
	struct file *file = (struct file *)base;
	int code = disk.real->xOpen(disk.real, path, &file->real, flags, ret_flags);

	(void)snprintf(file->name, sizeof(file->name), "%s", last_part(path));
	base->pMethods = code == SQLITE_OK ? &methods : NULL;
	return code;
}

static int on_delete(sqlite3_vfs *vfs, const char *path, int sync_directory)
{
	if (pass(last_part(path), OP_DELETE, 0, NULL, 0))
		return SQLITE_IOERR_DELETE;
	return disk.real->xDelete(disk.real, path, sync_directory);
}

static int on_last_error(sqlite3_vfs *vfs, int n, char *text)
{
	return disk.last_errno ? disk.last_errno : disk.real->xGetLastError(disk.real, n, text);
}

void played_disk_install(void)
{
	disk.real = sqlite3_vfs_find(NULL);
	disk.vfs = *disk.real;
	disk.vfs.zName = "played";
	disk.vfs.szOsFile = (int)offsetof(struct file, real) + disk.real->szOsFile;
	disk.vfs.xOpen = on_open;
	disk.vfs.xDelete = on_delete;
	disk.vfs.xGetLastError = on_last_error;
	if (sqlite3_vfs_register(&disk.vfs, 1) != SQLITE_OK)
		abort();
}

void played_disk_fail(const char *name, unsigned int kinds, size_t skip, size_t times, int number)
{
	(void)pthread_mutex_lock(&disk.lock);
	disk.name = name;
	disk.kinds = kinds;
	disk.skip = skip;
	disk.times = times;
	disk.number = number;
	disk.failures = 0;
	(void)pthread_mutex_unlock(&disk.lock);
}

void played_disk_mend(void)
{
	(void)pthread_mutex_lock(&disk.lock);
	disk.kinds = 0;
	disk.last_errno = 0;
	(void)pthread_mutex_unlock(&disk.lock);
}

size_t played_disk_failures(void)
{
	size_t n;

	(void)pthread_mutex_lock(&disk.lock);
	n = disk.failures;
	(void)pthread_mutex_unlock(&disk.lock);
	return n;
}

void played_disk_hold(void)
{
	(void)pthread_mutex_lock(&disk.lock);
	disk.hold = true;
	(void)pthread_mutex_unlock(&disk.lock);
}

void played_disk_let_go(void)
{
	(void)pthread_mutex_lock(&disk.lock);
	disk.hold = false;
	(void)pthread_cond_broadcast(&disk.changed);
	(void)pthread_mutex_unlock(&disk.lock);
}

void played_disk_until_held(void)
{
	(void)pthread_mutex_lock(&disk.lock);
	while (!disk.held)
		(void)pthread_cond_wait(&disk.changed, &disk.lock);
	(void)pthread_mutex_unlock(&disk.lock);
}

void played_disk_record(bool on)
{
	(void)pthread_mutex_lock(&disk.lock);
	for (size_t i = 0; i < disk.n_ops; i++)
		free(disk.ops[i].bytes);
	free(disk.ops);
	disk.ops = NULL;
	disk.n_ops = disk.room = 0;
	disk.records = on;
	(void)pthread_mutex_unlock(&disk.lock);
}

void played_disk_pause(void)
{
	(void)pthread_mutex_lock(&disk.lock);
	disk.records = false;
	(void)pthread_mutex_unlock(&disk.lock);
}

const struct played_op *played_disk_ops(size_t *ret_n)
{
	const struct played_op *ops;

	(void)pthread_mutex_lock(&disk.lock);
	*ret_n = disk.n_ops;
	ops = disk.ops;
	(void)pthread_mutex_unlock(&disk.lock);
	return ops;
}
