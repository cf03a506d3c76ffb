/* Counts what a process asks of files below a folder, and at the n-th harms it: kills the process before, amid or after,
   or answers with an error, once or from then on. Preloaded; `arm` is called through ctypes in the process to harm. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { NONE, BEFORE, HALF, AFTER, ONCE, ON };

static char folder[4096];
static long count, moment;
static int way, error_number;

void arm(const char *below, long at, int how, int number)
{
    strncpy(folder, below, sizeof folder - 1);
    count = 0, moment = at, way = how, error_number = number;
}

long events(void) { return count; }

static int below(int at, const char *path)
{
    char whole[8192];
    if (!folder[0] || !path)
        return 0;
    if (path[0] == '/')
        return strncmp(path, folder, strlen(folder)) == 0;
    if (at == AT_FDCWD) {
        if (!getcwd(whole, 4096))
            return 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t length = readlink(link, whole, 4095);
        if (length < 0)
            return 0;
        whole[length] = 0;
    }
    strcat(whole, "/");
    strncat(whole, path, 4000);
    return strncmp(whole, folder, strlen(folder)) == 0;
}

static int open_below(int file)
{
    char link[64], path[4096];
    if (!folder[0])
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return path[0] == '/' && strncmp(path, folder, strlen(folder)) == 0;
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

/* Returns what to do with this event: NONE, HALF, AFTER, or ONCE where it fails. */
static int harm(int matters)
{
    if (!matters)
        return NONE;
    count++;
    if (way == ON && count >= moment && moment > 0)
        return ONCE;
    if (count != moment)
        return NONE;
    if (way == BEFORE)
        die();
    return way;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define AROUND(matters, call) \
    int what = harm(matters); \
    if (what == ONCE) { errno = error_number; return -1; } \
    if (what == HALF) die(); \
    __typeof__(call) result = call; \
    if (what == AFTER) die(); \
    return result;

ssize_t write(int file, const void *data, size_t size)
{
    int what = harm(open_below(file));
    if (what == ONCE) { errno = error_number; return -1; }
    if (what == HALF) { NEXT(write)(file, data, size / 2); die(); }
    ssize_t result = NEXT(write)(file, data, size);
    if (what == AFTER) die();
    return result;
}

#define OPENED(name, at, call) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); } \
    AROUND((flags & (O_CREAT | O_WRONLY | O_RDWR)) && below(at, path), call)

int open(const char *path, int flags, ...) { OPENED(open, AT_FDCWD, NEXT(open)(path, flags, mode)) }
int open64(const char *path, int flags, ...) { OPENED(open64, AT_FDCWD, NEXT(open64)(path, flags, mode)) }
int openat(int at, const char *path, int flags, ...) { OPENED(openat, at, NEXT(openat)(at, path, flags, mode)) }
int openat64(int at, const char *path, int flags, ...) { OPENED(openat64, at, NEXT(openat64)(at, path, flags, mode)) }
int rename(const char *from, const char *to) { AROUND(below(AT_FDCWD, to), NEXT(rename)(from, to)) }
int fsync(int file) { AROUND(open_below(file), NEXT(fsync)(file)) }
int unlink(const char *path) { AROUND(below(AT_FDCWD, path), NEXT(unlink)(path)) }
int unlinkat(int at, const char *path, int flags) { AROUND(below(at, path), NEXT(unlinkat)(at, path, flags)) }
int rmdir(const char *path) { AROUND(below(AT_FDCWD, path), NEXT(rmdir)(path)) }
int mkdir(const char *path, mode_t mode) { AROUND(below(AT_FDCWD, path), NEXT(mkdir)(path, mode)) }
