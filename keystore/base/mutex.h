#pragma once

#include <pthread.h>

#include <condition_variable>
#include <mutex>

// Clang's thread safety analysis (-Wthread-safety); GCC sees nothing of it.
#if defined(__clang__)
#define COFFER_ANNOTATE(x) __attribute__((x))
#else
#define COFFER_ANNOTATE(x)
#endif
#define CAPABILITY(name) COFFER_ANNOTATE(capability(name))
#define SCOPED_CAPABILITY COFFER_ANNOTATE(scoped_lockable)
#define GUARDED_BY(mutex) COFFER_ANNOTATE(guarded_by(mutex))
#define REQUIRES(...) COFFER_ANNOTATE(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) COFFER_ANNOTATE(requires_shared_capability(__VA_ARGS__))
#define EXCLUDES(...) COFFER_ANNOTATE(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) COFFER_ANNOTATE(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) COFFER_ANNOTATE(acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...) COFFER_ANNOTATE(release_capability(__VA_ARGS__))
#define RELEASE_GENERIC(...) COFFER_ANNOTATE(release_generic_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS COFFER_ANNOTATE(no_thread_safety_analysis)

namespace coffer {

/// std::mutex with annotations, so that clang checks GUARDED_BY.
class CAPABILITY("mutex") Mutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

/// Like std::shared_mutex, but whoever waits to write goes before those who come to read, so that
/// readers without end can't keep a writer out. A thread takes it once, for reading too.
class CAPABILITY("shared mutex") SharedMutex {
 public:
  SharedMutex() {
    pthread_rwlockattr_t attributes;
    ::pthread_rwlockattr_init(&attributes);
    ::pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    ::pthread_rwlock_init(&mutex_, &attributes);
    ::pthread_rwlockattr_destroy(&attributes);
  }
  ~SharedMutex() { ::pthread_rwlock_destroy(&mutex_); }
  SharedMutex(const SharedMutex&) = delete;
  SharedMutex& operator=(const SharedMutex&) = delete;

  void lock() ACQUIRE() { ::pthread_rwlock_wrlock(&mutex_); }
  void unlock() RELEASE() { ::pthread_rwlock_unlock(&mutex_); }
  void lock_shared() ACQUIRE_SHARED() { ::pthread_rwlock_rdlock(&mutex_); }
  void unlock_shared() RELEASE() { ::pthread_rwlock_unlock(&mutex_); }

 private:
  pthread_rwlock_t mutex_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

class SCOPED_CAPABILITY WriteLock {
 public:
  explicit WriteLock(SharedMutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~WriteLock() RELEASE() { mutex_.unlock(); }
  WriteLock(const WriteLock&) = delete;
  WriteLock& operator=(const WriteLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class SCOPED_CAPABILITY ReadLock {
 public:
  explicit ReadLock(SharedMutex& mutex) ACQUIRE_SHARED(mutex) : mutex_(mutex) {
    mutex_.lock_shared();
  }
  ~ReadLock() RELEASE_GENERIC() { mutex_.unlock_shared(); }
  ReadLock(const ReadLock&) = delete;
  ReadLock& operator=(const ReadLock&) = delete;

 private:
  SharedMutex& mutex_;
};

/// A condition variable for Mutex; the caller holds the lock and loops on its condition.
class CondVar {
 public:
  void wait(Mutex& mutex) REQUIRES(mutex) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    changed_.wait(lock);
    lock.release();
  }
  /// False once `duration` has passed without a notification.
  template <typename Duration>
  bool wait_for(Mutex& mutex, Duration duration) REQUIRES(mutex) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const std::cv_status status = changed_.wait_for(lock, duration);
    lock.release();
    return status == std::cv_status::no_timeout;
  }
  void notify_one() { changed_.notify_one(); }
  void notify_all() { changed_.notify_all(); }

 private:
  std::condition_variable changed_;
};

}  // namespace coffer
