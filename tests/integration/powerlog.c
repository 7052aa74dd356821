/*
 * Preloaded into a process whose power is to fail: writes down, in order, everything it does to the files of one database,
 * and every moment at which it made them safe. What was not safe at the end can then be taken away (test_power_loss.py).
 *
 * POWER_FILES is the beginning of the files' paths, POWER_LOG where the record goes, POWER_FAILS_AFTER how many writes there are
 * before the power fails. A record is four native 64-bit numbers (kind, file, offset, length) and, after an opening, a removal or a
 * write, `length` octets: the path or what was written.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPENED, WRITTEN, CUT, SAFE, GONE };
enum { FILES = 4096 };

static int log_fd = -1;
static uint64_t number_of[FILES];
static uint64_t opened;
static uint64_t writes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void record(uint64_t kind, uint64_t file, uint64_t offset, const void *data, uint64_t length) {
  static ssize_t (*put)(int, const struct iovec *, int);
  uint64_t head[4] = {kind, file, offset, length};
  struct iovec pieces[2] = {{head, sizeof head}, {(void *)data, data ? length : 0}};
  if (!put) put = real("writev");
  if (put(log_fd, pieces, 2) != (ssize_t)(sizeof head + (data ? length : 0))) _exit(97);
  const char *last = getenv("POWER_FAILS_AFTER");
  if (kind == WRITTEN && last && ++writes == strtoull(last, NULL, 10)) kill(getpid(), SIGKILL);
}

static void note_opening(int fd, const char *path) {
  const char *wanted = getenv("POWER_FILES");
  if (fd < 0 || fd >= FILES) return;
  pthread_mutex_lock(&lock);
  number_of[fd] = 0;
  if (wanted && strncmp(path, wanted, strlen(wanted)) == 0) {
    static int (*make)(const char *, int, ...);
    if (!make) make = real("open64");
    if (log_fd < 0) log_fd = make(getenv("POWER_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) _exit(98);
    number_of[fd] = ++opened;
    record(OPENED, opened, 0, path, strlen(path));
  }
  pthread_mutex_unlock(&lock);
}

static uint64_t watched(int fd) { return fd >= 0 && fd < FILES ? number_of[fd] : 0; }

#define OPENER(NAME)                                              \
  int NAME(const char *path, int flags, ...) {                    \
    static int (*make)(const char *, int, ...);                   \
    va_list more;                                                 \
    va_start(more, flags);                                        \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
    va_end(more);                                                 \
    if (!make) make = real(#NAME);                                \
    int fd = make(path, flags, mode);                             \
    note_opening(fd, path);                                       \
    return fd;                                                    \
  }
OPENER(open)
OPENER(open64)

static ssize_t written(int fd, const void *data, ssize_t length, off64_t offset) {
  if (length > 0) record(WRITTEN, watched(fd), (uint64_t)offset, data, (uint64_t)length);
  return length;
}

ssize_t write(int fd, const void *data, size_t length) {
  static ssize_t (*put)(int, const void *, size_t);
  if (!put) put = real("write");
  if (!watched(fd)) return put(fd, data, length);
  pthread_mutex_lock(&lock);
  off64_t offset = lseek64(fd, 0, SEEK_CUR);
  ssize_t done = written(fd, data, put(fd, data, length), offset);
  pthread_mutex_unlock(&lock);
  return done;
}

#define WRITER(NAME, OFFSET)                                      \
  ssize_t NAME(int fd, const void *data, size_t length, OFFSET offset) { \
    static ssize_t (*put)(int, const void *, size_t, OFFSET);     \
    if (!put) put = real(#NAME);                                  \
    if (!watched(fd)) return put(fd, data, length, offset);       \
    pthread_mutex_lock(&lock);                                    \
    ssize_t done = written(fd, data, put(fd, data, length, offset), offset); \
    pthread_mutex_unlock(&lock);                                  \
    return done;                                                  \
  }
WRITER(pwrite, off_t)
WRITER(pwrite64, off64_t)

#define CUTTER(NAME, OFFSET)                                      \
  int NAME(int fd, OFFSET length) {                               \
    static int (*cut)(int, OFFSET);                               \
    if (!cut) cut = real(#NAME);                                  \
    if (!watched(fd)) return cut(fd, length);                     \
    pthread_mutex_lock(&lock);                                    \
    int failed = cut(fd, length);                                 \
    if (!failed) record(CUT, watched(fd), (uint64_t)length, NULL, 0); \
    pthread_mutex_unlock(&lock);                                  \
    return failed;                                                \
  }
CUTTER(ftruncate, off_t)
CUTTER(ftruncate64, off64_t)

#define SYNCER(NAME)                                              \
  int NAME(int fd) {                                              \
    static int (*save)(int);                                      \
    if (!save) save = real(#NAME);                                \
    if (!watched(fd)) return save(fd);                            \
    pthread_mutex_lock(&lock);                                    \
    int failed = save(fd);                                        \
    if (!failed) record(SAFE, watched(fd), 0, NULL, 0);           \
    pthread_mutex_unlock(&lock);                                  \
    return failed;                                                \
  }
SYNCER(fsync)
SYNCER(fdatasync)

int unlink(const char *path) {
  static int (*take)(const char *);
  if (!take) take = real("unlink");
  int failed = take(path);
  const char *wanted = getenv("POWER_FILES");
  if (!failed && log_fd >= 0 && wanted && strncmp(path, wanted, strlen(wanted)) == 0) {
    pthread_mutex_lock(&lock);
    record(GONE, 0, 0, path, strlen(path));
    pthread_mutex_unlock(&lock);
  }
  return failed;
}
