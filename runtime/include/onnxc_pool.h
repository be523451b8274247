/* A thread pool for models that onnxc compiled, over pthreads. It implements `parallel_for` of the context.
 *
 * Include a model's header (or onnxc.h) before this file; it holds code, so include it in one source file of the program.
 * Compile with -pthread. GCC and Clang know the atomics that are used.
 *
 *   static onnxc_pool pool;
 *   int error = onnxc_pool_start(&pool, 4);            4 threads, the calling one included; 0 or an errno
 *   ctx.parallel_for = onnxc_pool_for;
 *   ctx.parallel_user = &pool;
 *   ... run as often as you like ...
 *   onnxc_pool_stop(&pool);
 *
 * Each loop is cut into as many even ranges as there are threads, at places that depend on nothing else. Each thread does its
 * own range, and who is done takes ranges that nobody has begun: no loop waits for a thread that is kept off its CPU. Threads wait by
 * spinning for a short while and sleep after that; while loops follow each other closely there is no system call. Nothing is
 * allocated. A loop that starts while the pool is busy runs on its own thread. */
#ifndef ONNXC_POOL_H
#define ONNXC_POOL_H

#include <pthread.h>
#include <stdint.h>

/* Most threads of a pool. */
#define ONNXC_POOL_MAX 64

/* Bytes of a thread's stack that it touches before its first loop, so that no page of it is missing later. */
#ifndef ONNXC_POOL_STACK
#define ONNXC_POOL_STACK 32768
#endif

/* Turns of waiting before a thread sleeps: some tens of microseconds. */
#ifndef ONNXC_POOL_SPINS
#define ONNXC_POOL_SPINS 4000
#endif

struct onnxc_pool_s;

typedef struct {
  struct onnxc_pool_s *pool;
  pthread_t thread;
  int number;
} onnxc_pool_worker;

/* What is known of a range: the turn in which it was begun last, and what became of it. In each turn each is begun once, by who
 * brings it from the turn before to this one. */
typedef struct {
  unsigned begun;
  int32_t status;
} onnxc_pool_range;

typedef struct onnxc_pool_s {
  /* Counts loops; workers wait for it to change. */
  unsigned turn;
  /* Ranges that are not done, and whether a loop is running. */
  int left, busy, stop;
  /* Threads that sleep: workers until a turn, the caller until nobody is left. */
  int sleeping, caller_sleeps;
  /* Workers that have started. */
  int ready;
  int threads;
  onnxc_parallel_body body;
  void *arg;
  int64_t count;
  pthread_mutex_t lock;
  pthread_cond_t begun, ended;
  onnxc_pool_worker workers[ONNXC_POOL_MAX];
  onnxc_pool_range ranges[ONNXC_POOL_MAX];
} onnxc_pool;

static void onnxc_pool_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#endif
}

/* Where the range of thread `i` begins. */
static int64_t onnxc_pool_at(const onnxc_pool *p, int i) {
  int64_t each = p->count / p->threads, more = p->count % p->threads;
  return each * i + (i < more ? i : more);
}

/* Does what has not been begun of a turn's loop, the range of thread `first` before others. The loop stays what it is until a range
 * that is ours is counted off. */
static void onnxc_pool_take_part(onnxc_pool *p, int first, unsigned turn) {
  int k;
  for (k = 0; k < p->threads; k++) {
    int i = (first + k) % p->threads;
    onnxc_pool_range *r = &p->ranges[i];
    unsigned before = turn - 1;
    int64_t begin, end;
    if (!__atomic_compare_exchange_n(&r->begun, &before, turn, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) continue;
    begin = onnxc_pool_at(p, i);
    end = onnxc_pool_at(p, i + 1);
    r->status = begin < end ? p->body(p->arg, begin, end) : 0;
    if (__atomic_sub_fetch(&p->left, 1, __ATOMIC_SEQ_CST) == 0 && __atomic_load_n(&p->caller_sleeps, __ATOMIC_SEQ_CST)) {
      pthread_mutex_lock(&p->lock);
      pthread_cond_signal(&p->ended);
      pthread_mutex_unlock(&p->lock);
    }
  }
}

static void onnxc_pool_touch_stack(void) {
  volatile char bytes[ONNXC_POOL_STACK];
  int i;
  for (i = 0; i < ONNXC_POOL_STACK; i += 1024) bytes[i] = 0;
  (void)bytes[0];
}

static void *onnxc_pool_work(void *self) {
  onnxc_pool_worker *w = (onnxc_pool_worker *)self;
  onnxc_pool *p = w->pool;
  unsigned seen = 0;
  onnxc_pool_touch_stack();
  pthread_mutex_lock(&p->lock);
  p->ready++;
  pthread_cond_signal(&p->ended);
  pthread_mutex_unlock(&p->lock);
  for (;;) {
    int spins = 0;
    while (spins++ < ONNXC_POOL_SPINS && __atomic_load_n(&p->turn, __ATOMIC_ACQUIRE) == seen) onnxc_pool_pause();
    if (__atomic_load_n(&p->turn, __ATOMIC_ACQUIRE) == seen) {
      pthread_mutex_lock(&p->lock);
      /* Sequentially consistent, as is the caller's change of the turn: it sees us sleep, or we see the turn. */
      __atomic_add_fetch(&p->sleeping, 1, __ATOMIC_SEQ_CST);
      while (__atomic_load_n(&p->turn, __ATOMIC_SEQ_CST) == seen) pthread_cond_wait(&p->begun, &p->lock);
      __atomic_sub_fetch(&p->sleeping, 1, __ATOMIC_SEQ_CST);
      pthread_mutex_unlock(&p->lock);
    }
    /* The turn first: that of the end, which has no loop, is never seen without `stop`. */
    seen = __atomic_load_n(&p->turn, __ATOMIC_ACQUIRE);
    if (__atomic_load_n(&p->stop, __ATOMIC_ACQUIRE)) return 0;
    onnxc_pool_take_part(p, w->number, seen);
  }
}

/* The next turn. */
static unsigned onnxc_pool_begin(onnxc_pool *p) {
  unsigned turn;
  __atomic_store_n(&p->left, p->threads, __ATOMIC_RELAXED);
  turn = __atomic_add_fetch(&p->turn, 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&p->sleeping, __ATOMIC_SEQ_CST)) {
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->begun);
    pthread_mutex_unlock(&p->lock);
  }
  return turn;
}

/* For `parallel_for`; `pool` is the pool. */
static int32_t onnxc_pool_for(void *pool, onnxc_parallel_body body, void *arg, int64_t count) {
  onnxc_pool *p = (onnxc_pool *)pool;
  int32_t status = 0;
  int i, spins = 0;
  if (p->threads < 2 || count < 2 || __atomic_exchange_n(&p->busy, 1, __ATOMIC_ACQUIRE))
    return count > 0 ? body(arg, 0, count) : 0;
  p->body = body;
  p->arg = arg;
  p->count = count;
  onnxc_pool_take_part(p, 0, onnxc_pool_begin(p));
  while (spins++ < ONNXC_POOL_SPINS && __atomic_load_n(&p->left, __ATOMIC_ACQUIRE)) onnxc_pool_pause();
  if (__atomic_load_n(&p->left, __ATOMIC_ACQUIRE)) {
    pthread_mutex_lock(&p->lock);
    __atomic_store_n(&p->caller_sleeps, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&p->left, __ATOMIC_SEQ_CST)) pthread_cond_wait(&p->ended, &p->lock);
    __atomic_store_n(&p->caller_sleeps, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&p->lock);
  }
  /* The status of the lowest range that failed. */
  for (i = 0; i < p->threads && status == 0; i++) status = p->ranges[i].status;
  __atomic_store_n(&p->busy, 0, __ATOMIC_RELEASE);
  return status;
}

/* Ends the threads. No loop may be running. */
static void onnxc_pool_stop(onnxc_pool *p) {
  int i;
  __atomic_store_n(&p->stop, 1, __ATOMIC_RELEASE);
  onnxc_pool_begin(p);
  for (i = 1; i < p->threads; i++) pthread_join(p->workers[i].thread, 0);
  pthread_cond_destroy(&p->begun);
  pthread_cond_destroy(&p->ended);
  pthread_mutex_destroy(&p->lock);
}

/* Starts `threads` threads, the calling one included, at most ONNXC_POOL_MAX; all of them run when it
 * returns. The answer is 0, or an errno and no pool. */
static int onnxc_pool_start(onnxc_pool *p, int threads) {
  int error, i;
  p->turn = 0;
  p->left = p->busy = p->stop = p->sleeping = p->caller_sleeps = p->ready = 0;
  p->body = 0;
  p->arg = 0;
  p->count = 0;
  p->threads = 1;
  for (i = 0; i < ONNXC_POOL_MAX; i++) {
    p->ranges[i].begun = 0;
    p->ranges[i].status = 0;
  }
  if ((error = pthread_mutex_init(&p->lock, 0)) != 0) return error;
  if ((error = pthread_cond_init(&p->begun, 0)) != 0) return error;
  if ((error = pthread_cond_init(&p->ended, 0)) != 0) return error;
  for (i = 1; i < threads && i < ONNXC_POOL_MAX; i++) {
    onnxc_pool_worker *w = &p->workers[i];
    w->pool = p;
    w->number = i;
    error = pthread_create(&w->thread, 0, onnxc_pool_work, w);
    if (error != 0) {
      onnxc_pool_stop(p);
      return error;
    }
    p->threads = i + 1;
  }
  pthread_mutex_lock(&p->lock);
  while (p->ready < p->threads - 1) pthread_cond_wait(&p->ended, &p->lock);
  pthread_mutex_unlock(&p->lock);
  return 0;
}

#endif
