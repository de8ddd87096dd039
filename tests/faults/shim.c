/* Makes the calls of a process to libc fail, or wait, as the rules say that a test writes into a shared file.
 *
 * Loaded by LD_PRELOAD, so that it reaches what C libraries do, SQLite's included. A rule is struck when its call
 * matches and the path of the file has its text in it ("$" at its end: the path ends so). See faults.py.
 *
 * After a sync that fails, what the file got since the last one that did not is zeros: so does a system that could not
 * write a page, and has forgotten by the next sync that it could not. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { NONE, OPEN, CREATE, READ, WRITE, SYNC, TRUNCATE, RENAME, UNLINK, MKDIR, TIMES, THREAD, MEMORY, CLOCK };

struct rule {
    int call;
    int error;      /* errno; 0 does what was asked */
    int delay_ms;   /* before that; of CLOCK, seconds to add to the time of day */
    int skip;       /* matching calls to leave alone first */
    int left;       /* calls still to be struck; below 0 is without end */
    int hits;       /* struck so far */
    char path[104];
};

#define RULES 16
static struct rule *rules;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("H2GATE_FAULTS");
    int fd = file ? REAL(open)(file, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *found = REAL(mmap)(NULL, RULES * sizeof(struct rule), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    rules = found == MAP_FAILED ? NULL : found;
    close(fd);
}

static int concerns(int call) {
    for (int i = 0; rules && i < RULES; i++)
        if (__atomic_load_n(&rules[i].call, __ATOMIC_ACQUIRE) == call)
            return 1;
    return 0;
}

static int matches(const char *wanted, const char *path) {
    size_t n = strlen(wanted), length = strlen(path);
    if (n && wanted[n - 1] == '$')
        return length >= n - 1 && !strncmp(path + length - (n - 1), wanted, n - 1);
    return strstr(path, wanted) != NULL;
}

/* Whether the call is to fail, with errno set; waits where it is to be slow. */
static int struck(int call, const char *path) {
    for (int i = 0; i < RULES; i++) {
        struct rule *rule = &rules[i];
        if (rule->call != call || !matches(rule->path, path))
            continue;
        if (rule->skip > 0 && __atomic_fetch_sub(&rule->skip, 1, __ATOMIC_SEQ_CST) > 0)
            continue;
        if (rule->left >= 0 && __atomic_fetch_sub(&rule->left, 1, __ATOMIC_SEQ_CST) <= 0) {
            __atomic_store_n(&rule->left, 0, __ATOMIC_SEQ_CST);
            continue;
        }
        __atomic_fetch_add(&rule->hits, 1, __ATOMIC_SEQ_CST);
        struct timespec delay = {rule->delay_ms / 1000, rule->delay_ms % 1000 * 1000000L};
        while (rule->delay_ms && nanosleep(&delay, &delay) && errno == EINTR)
            ;
        if (rule->error) {
            errno = rule->error;
            return 1;
        }
    }
    return 0;
}

static const char *path_of(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, buffer, PATH_MAX - 1);
    buffer[n < 0 ? 0 : n] = 0;
    return buffer;
}

static int struck_fd(int call, int fd) {
    char path[PATH_MAX];
    return concerns(call) && struck(call, path_of(fd, path));
}

static int struck_at(int call, int folder, const char *name) {
    char path[2 * PATH_MAX];
    if (!concerns(call))
        return 0;
    if (folder == AT_FDCWD || name[0] == '/')
        return struck(call, name);
    path_of(folder, path);
    size_t n = strlen(path);
    snprintf(path + n, sizeof path - n, "/%s", name);
    return struck(call, path);
}

#define MODE(flags)                                                                                                    \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                                           \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode = va_arg(more, mode_t);                                                                                   \
        va_end(more);                                                                                                  \
    }
#define OPENING(flags) ((flags) & O_CREAT ? CREATE : OPEN)

int open(const char *path, int flags, ...) {
    MODE(flags)
    return struck_at(OPENING(flags), AT_FDCWD, path) ? -1 : REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE(flags)
    return struck_at(OPENING(flags), AT_FDCWD, path) ? -1 : REAL(open64)(path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    MODE(flags)
    return struck_at(OPENING(flags), folder, path) ? -1 : REAL(openat)(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags)
    return struck_at(OPENING(flags), folder, path) ? -1 : REAL(openat64)(folder, path, flags, mode);
}

ssize_t read(int fd, void *to, size_t n) { return struck_fd(READ, fd) ? -1 : REAL(read)(fd, to, n); }
ssize_t pread(int fd, void *to, size_t n, off_t at) { return struck_fd(READ, fd) ? -1 : REAL(pread)(fd, to, n, at); }
ssize_t pread64(int fd, void *to, size_t n, off64_t at) {
    return struck_fd(READ, fd) ? -1 : REAL(pread64)(fd, to, n, at);
}
ssize_t write(int fd, const void *from, size_t n) { return struck_fd(WRITE, fd) ? -1 : REAL(write)(fd, from, n); }
ssize_t pwrite(int fd, const void *from, size_t n, off_t at) {
    return struck_fd(WRITE, fd) ? -1 : REAL(pwrite)(fd, from, n, at);
}
ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at) {
    return struck_fd(WRITE, fd) ? -1 : REAL(pwrite64)(fd, from, n, at);
}

#define FILES 8192
static struct { ino_t file; off_t size; } synced[FILES]; /* how long each file was at its last sync */

static int slot_of(ino_t file) {
    int slot = (int)(file % FILES);
    while (synced[slot].file && synced[slot].file != file)
        slot = (slot + 1) % FILES;
    return slot;
}

static void lose(int fd, const char *path) {
    struct stat found;
    int slot, error = errno;
    if (!strstr(path, "/ledger") && !fstat(fd, &found) && S_ISREG(found.st_mode)) {
        slot = slot_of(found.st_ino);
        int is_known = synced[slot].file || strstr(path, "/partial/"); /* of what another process wrote, nothing is safe */
        int again = is_known ? REAL(open)(path, O_WRONLY | O_CLOEXEC) : -1;
        static const char zeros[1 << 16];
        for (off_t at = synced[slot].size; again >= 0 && at < found.st_size;) {
            size_t n = found.st_size - at < (off_t)sizeof zeros ? (size_t)(found.st_size - at) : sizeof zeros;
            ssize_t done = REAL(pwrite)(again, zeros, n, at);
            if (done <= 0)
                break;
            at += done;
        }
        if (again >= 0)
            close(again);
    }
    errno = error;
}

static int synced_with(int fd, int (*sync)(int)) {
    char path[PATH_MAX];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct stat found;
    if (concerns(SYNC) && struck(SYNC, path_of(fd, path))) {
        if (errno == EIO)
            lose(fd, path);
        return -1;
    }
    int done = sync(fd), error = errno;
    if (!done && !fstat(fd, &found) && S_ISREG(found.st_mode)) {
        pthread_mutex_lock(&lock);
        int slot = slot_of(found.st_ino);
        synced[slot].file = found.st_ino;
        synced[slot].size = found.st_size;
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return done;
}

int fsync(int fd) { return synced_with(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced_with(fd, REAL(fdatasync)); }
int ftruncate(int fd, off_t size) { return struck_fd(TRUNCATE, fd) ? -1 : REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { return struck_fd(TRUNCATE, fd) ? -1 : REAL(ftruncate64)(fd, size); }
int futimens(int fd, const struct timespec times[2]) { return struck_fd(TIMES, fd) ? -1 : REAL(futimens)(fd, times); }

int rename(const char *from, const char *to) {
    return struck_at(RENAME, AT_FDCWD, to) ? -1 : REAL(rename)(from, to);
}
int renameat(int from_folder, const char *from, int folder, const char *to) {
    return struck_at(RENAME, folder, to) ? -1 : REAL(renameat)(from_folder, from, folder, to);
}
int linkat(int from_folder, const char *from, int folder, const char *to, int flags) {
    return struck_at(RENAME, folder, to) ? -1 : REAL(linkat)(from_folder, from, folder, to, flags);
}
int unlink(const char *path) { return struck_at(UNLINK, AT_FDCWD, path) ? -1 : REAL(unlink)(path); }
int unlinkat(int folder, const char *path, int flags) {
    return struck_at(UNLINK, folder, path) ? -1 : REAL(unlinkat)(folder, path, flags);
}
int mkdirat(int folder, const char *path, mode_t mode) {
    return struck_at(MKDIR, folder, path) ? -1 : REAL(mkdirat)(folder, path, mode);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*work)(void *), void *argument) {
    if (concerns(THREAD) && struck(THREAD, ""))
        return errno;
    return REAL(pthread_create)(thread, how, work, argument);
}

/* Only two blocks of the storage (nobody else asks for just as much): an interpreter without memory for its own objects
   tells nothing. */
static int is_buffer(size_t n, int fd) { return fd == -1 && n == 2 << 20; }

void *mmap(void *at, size_t n, int access, int flags, int fd, off_t offset) {
    if (is_buffer(n, fd) && concerns(MEMORY) && struck(MEMORY, ""))
        return MAP_FAILED;
    return REAL(mmap)(at, n, access, flags, fd, offset);
}
void *mmap64(void *at, size_t n, int access, int flags, int fd, off64_t offset) {
    if (is_buffer(n, fd) && concerns(MEMORY) && struck(MEMORY, ""))
        return MAP_FAILED;
    return REAL(mmap64)(at, n, access, flags, fd, offset);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = REAL(clock_gettime)(clock, now);
    for (int i = 0; !done && clock == CLOCK_REALTIME && rules && i < RULES; i++)
        if (rules[i].call == CLOCK) {
            now->tv_sec += rules[i].delay_ms;
            rules[i].hits = 1;
        }
    return done;
}
