#include "sandbox/launch_program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"

#if defined(__x86_64__)
#define NATIVE_MACHINE EM_X86_64
#define NATIVE_NAME    "x86-64"
#elif defined(__aarch64__)
#define NATIVE_MACHINE EM_AARCH64
#define NATIVE_NAME    "arm64"
#else
#error "name this architecture"
#endif

const char *program_env(const char *const *env, const char *name)
{
	size_t length = strlen(name);

	for (; env && *env; env++) {
		if (!strncmp(*env, name, length) && (*env)[length] == '=')
			return *env + length + 1;
	}
	return NULL;
}

static const char *machine_name(unsigned int machine)
{
	static const struct {
		unsigned int machine;
		const char *name;
	} names[] = {
		{ EM_386, "i386" },      { EM_X86_64, "x86-64" }, { EM_ARM, "arm" },
		{ EM_AARCH64, "arm64" }, { EM_RISCV, "riscv" },   { EM_PPC64, "ppc64" },
		{ EM_S390, "s390" },     { EM_MIPS, "mips" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (names[i].machine == machine)
			return names[i].name;
	}
	return "another machine";
}

static int check_interpreter(const char *path, const char *interpreter, struct err *err)
{
	if (access(interpreter, F_OK) == 0 || errno != ENOENT)
		return 0;
	return err_set(err, ERR_START, ENOENT,
		       "%s: its interpreter %s does not exist in the root file system", path,
		       interpreter);
}

/* "#! /bin/sh -e": the kernel takes the first word; blanks before it are passed over. */
static int check_script(const char *path, char *head, struct err *err)
{
	char *start = head + 2;
	char *end;

	start += strspn(start, " \t");
	end = start + strcspn(start, " \t\n");
	if (*end == '\0' || end == start)
		return 0; /* longer than we read, or nothing: execve says */
	*end = '\0';
	return check_interpreter(path, start, err);
}

/* The file has PT_INTERP only where it is dynamic; its segment holds the name. */
static int check_elf_interpreter(int fd, const char *path, const Elf64_Ehdr *header,
				 struct err *err)
{
	char name[256];
	Elf64_Phdr segment;

	for (unsigned int i = 0; i < header->e_phnum && i < 64; i++) {
		off_t at = (off_t)header->e_phoff + (off_t)(i * sizeof(segment));

		if (pread(fd, &segment, sizeof(segment), at) != (ssize_t)sizeof(segment))
			return 0;
		if (segment.p_type != PT_INTERP)
			continue;
		if (segment.p_filesz < 2 || segment.p_filesz > sizeof(name) ||
		    pread(fd, name, segment.p_filesz, (off_t)segment.p_offset) !=
			    (ssize_t)segment.p_filesz)
			return 0;
		name[segment.p_filesz - 1] = '\0';
		return check_interpreter(path, name, err);
	}
	return 0;
}

static int check_elf(int fd, const char *path, const char *head, size_t length, struct err *err)
{
	Elf64_Ehdr header;

	if (length < EI_NIDENT + 4)
		return 0;
	memcpy(&header, head, length < sizeof(header) ? length : sizeof(header));
	if (header.e_machine != NATIVE_MACHINE || header.e_ident[EI_CLASS] != ELFCLASS64 ||
	    header.e_ident[EI_DATA] != ELFDATA2LSB)
		return err_set(err, ERR_START, ENOEXEC,
			       "%s is a program for %s, this host runs programs for " NATIVE_NAME
			       ": use an image of that architecture",
			       path,
			       header.e_machine == EM_X86_64 ? "x32"
							     : machine_name(header.e_machine));
	if (length < sizeof(header) || header.e_phentsize != sizeof(Elf64_Phdr))
		return 0;
	return check_elf_interpreter(fd, path, &header, err);
}

/* What can be told before trying. A file that cannot be read may still be executed: execve decides. */
static int look_at(const char *path, struct err *err)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char head[256];
	ssize_t n;

	if (fd < 0)
		return 0;
	n = pread(fd, head, sizeof(head) - 1, 0);
	if (n < 0)
		return 0;
	if (n == 0)
		return err_set(err, ERR_START, ENOEXEC, "%s is an empty file", path);
	head[n] = '\0';
	if (n >= 2 && head[0] == '#' && head[1] == '!')
		return check_script(path, head, err);
	if (n >= SELFMAG && !memcmp(head, ELFMAG, SELFMAG))
		return check_elf(fd, path, head, (size_t)n, err);
	return err_set(err, ERR_START, ENOEXEC,
		       "%s is neither a program nor a script that begins with \"#!\"", path);
}

/* 0 where @path is a file that we may execute, or the negative errno that says why not. */
static int may_execute(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

static int cannot_execute(const char *path, int errnum, struct err *err)
{
	switch (errnum) {
	case ENOENT:
	case ENOTDIR:
		return err_set(err, ERR_START, ENOENT, "%s does not exist in the root file system",
			       path);
	case EISDIR:
		return err_set(err, ERR_START, EISDIR, "%s is a directory, not a program", path);
	case EACCES:
		return err_set(
			err, ERR_START, EACCES,
			"%s is not executable for the container's user: check its mode and that of the directories above it",
			path);
	default:
		return err_set(err, ERR_START, errnum, "cannot execute %s: %m", path);
	}
}

static int search(const char *name, const char *search_path, char *ret_path, size_t path_size,
		  struct err *err)
{
	int found = -ENOENT;

	for (const char *dir = search_path; dir;) {
		const char *end = strchrnul(dir, ':');
		int length = (int)(end - dir);
		int r;

		if (snprintf(ret_path, path_size, "%.*s/%s", length ? length : 1,
			     length ? dir : ".", name) < (int)path_size) {
			r = may_execute(ret_path);
			if (r == 0)
				return 0;
			if (r == -EACCES)
				found = r;
		}
		dir = *end ? end + 1 : NULL;
	}
	if (found == -EACCES)
		return err_set(err, ERR_START, EACCES,
			       "%s is in PATH, but not executable for the container's user", name);
	return err_set(err, ERR_START, ENOENT,
		       "there is no program %s in the root file system (PATH is %s)", name,
		       search_path);
}

int program_find(const char *name, const char *const *env, char *ret_path, size_t path_size,
		 struct err *err)
{
	const char *search_path = program_env(env, "PATH");
	int r;

	if (!*name)
		return err_set(err, ERR_START, ENOENT, "the command is empty");
	if (strchr(name, '/')) {
		if (strlen(name) >= path_size)
			return cannot_execute(name, ENAMETOOLONG, err);
		strcpy(ret_path, name);
		r = may_execute(ret_path);
		if (r < 0)
			return cannot_execute(ret_path, -r, err);
	} else {
		r = search(name, search_path ? search_path : PROGRAM_DEFAULT_PATH, ret_path,
			   path_size, err);
		if (r < 0)
			return r;
	}
	return look_at(ret_path, err);
}

int program_exec_failed(const char *path, int errnum, struct err *err)
{
	switch (errnum) {
	case E2BIG:
		return err_set(err, ERR_START, errnum,
			       "%s: its arguments and environment are too long", path);
	case ENOEXEC:
		return err_set(err, ERR_START, errnum,
			       "%s is in a format that this host cannot run", path);
	case ENOENT:
		return err_set(
			err, ERR_START, errnum,
			"%s: it, or the interpreter that it names, does not exist in the root file system",
			path);
	case EPERM:
		return err_set(err, ERR_START, errnum,
			       "%s: needs capabilities that the container does not have", path);
	default:
		return cannot_execute(path, errnum, err);
	}
}
