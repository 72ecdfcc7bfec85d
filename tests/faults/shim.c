/* Loaded before libc: counts the changing system calls on files whose path holds a given text, and at the n-th of them
 * kills the process, tears the write, fails, or plays a power failure, which loses what was not synced. A power failure
 * loses every unsynced write, or with an odd seed each one or not; creating and removing files is not undone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KILL, TEAR, FAIL_ONCE, FAIL_FROM, POWER };

static char needle[256];
static long count, nth;
static int mode, error_number;
static unsigned seed;

struct change {
    struct change *before;
    char path[PATH_MAX];
    off_t offset, old_size;
    size_t length;
    char old[];
};
static struct change *unsynced;

#define REAL(result, name, ...) \
    static result (*real_##name)(__VA_ARGS__); \
    if (!real_##name) *(void **)&real_##name = dlsym(RTLD_NEXT, #name)

void fault_arm(const char *text, long at, int how, int error, unsigned power_seed) {
    snprintf(needle, sizeof needle, "%s", text);
    count = 0, nth = at, mode = how, error_number = error, seed = power_seed;
}

long fault_count(void) { return count; }

static int watched(int fd, char *path) {
    char link[64];
    if (!needle[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, needle) != NULL;
}

/* What the file holds where it is about to change, so that a power failure can bring it back. */
static void remember(int fd, const char *path, off_t offset, size_t length) {
    struct stat now;
    if (mode != POWER || fstat(fd, &now)) return;
    struct change *change = calloc(1, sizeof *change + length);
    change->before = unsynced, change->offset = offset, change->old_size = now.st_size;
    strcpy(change->path, path);
    ssize_t got = pread(fd, change->old, length, offset);
    change->length = got > 0 ? (size_t)got : 0;
    unsynced = change;
}

static void forget(const char *path) {
    for (struct change **link = &unsynced; *link;) {
        struct change *change = *link;
        if (strcmp(change->path, path)) { link = &change->before; continue; }
        *link = change->before;
        free(change);
    }
}

static void lose_power(void) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    REAL(int, ftruncate, int, off_t);
    for (struct change *change = unsynced; change; change = change->before) {
        if (seed & 1 && rand_r(&seed) & 64) continue; /* this one happened to reach the disk */
        int fd = open(change->path, O_RDWR);
        if (fd < 0) continue;
        if (change->length) real_pwrite(fd, change->old, change->length, change->offset);
        if (!(seed & 1)) real_ftruncate(fd, change->old_size);
        close(fd);
    }
    kill(getpid(), SIGKILL);
}

/* Whether the call that is about to be made shall fail. */
static int due(void) {
    ++count;
    if (!nth || count < nth || (count > nth && mode != FAIL_FROM)) return 0;
    if (mode == KILL || mode == TEAR) kill(getpid(), SIGKILL);
    if (mode == POWER) lose_power();
    errno = error_number;
    return 1;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    char path[PATH_MAX];
    if (watched(fd, path)) {
        if (mode == TEAR && count + 1 == nth) real_pwrite(fd, data, length / 2, offset);
        if (due()) return -1;
        remember(fd, path, offset, length);
    }
    return real_pwrite(fd, data, length, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) { return pwrite(fd, data, length, offset); }

ssize_t write(int fd, const void *data, size_t length) {
    REAL(ssize_t, write, int, const void *, size_t);
    char path[PATH_MAX];
    if (watched(fd, path)) {
        if (mode == TEAR && count + 1 == nth) real_write(fd, data, length / 2);
        if (due()) return -1;
        remember(fd, path, lseek(fd, 0, SEEK_CUR), length);
    }
    return real_write(fd, data, length);
}

int ftruncate(int fd, off_t size) {
    REAL(int, ftruncate, int, off_t);
    char path[PATH_MAX];
    struct stat now;
    if (watched(fd, path)) {
        if (due()) return -1;
        if (!fstat(fd, &now) && now.st_size > size) remember(fd, path, size, (size_t)(now.st_size - size));
    }
    return real_ftruncate(fd, size);
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

int fsync(int fd) {
    REAL(int, fsync, int);
    char path[PATH_MAX];
    if (watched(fd, path)) {
        if (due()) return -1;
        forget(path);
    }
    return real_fsync(fd);
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    char path[PATH_MAX];
    if (watched(fd, path)) {
        if (due()) return -1;
        forget(path);
    }
    return real_fdatasync(fd);
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    if (needle[0] && strstr(path, needle) && due()) return -1;
    return real_unlink(path);
}
