#include "sys/poller.h"

#include "sys/fds.h"
#include "sys/result.h"

#ifdef __linux__
#include <sys/epoll.h>
#else
#include <sys/event.h>
#include <sys/time.h>
#endif

namespace prefork::sys {

#ifdef __linux__

int CreatePollSet() { return Checked(epoll_create1(EPOLL_CLOEXEC)); }

int AddToPollSet(int set, int fd, uint64_t id) {
  struct epoll_event event;
  event.events = EPOLLIN;
  event.data.u64 = id;
  return Checked(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
}

int RemoveFromPollSet(int set, int fd) { return Checked(epoll_ctl(set, EPOLL_CTL_DEL, fd, nullptr)); }

int ReadPollSet(int set, uint64_t* ids) {
  struct epoll_event events[kMaxPolledIds];
  int count = Uninterrupted([&] { return epoll_wait(set, events, kMaxPolledIds, 0); });
  if (count < 0) return -errno;
  for (int i = 0; i < count; i++) ids[i] = events[i].data.u64;
  return count;
}

#else

int CreatePollSet() {
  int set = kqueue();
  if (set < 0) return -errno;
  SetCloexec(set, true);
  return set;
}

static int Change(int set, int fd, uint16_t flags, uint64_t id) {
  struct kevent change;
  EV_SET(&change, fd, EVFILT_READ, flags, 0, 0, reinterpret_cast<void*>(static_cast<uintptr_t>(id)));
  return Checked(kevent(set, &change, 1, nullptr, 0, nullptr));
}

int AddToPollSet(int set, int fd, uint64_t id) { return Change(set, fd, EV_ADD, id); }

int RemoveFromPollSet(int set, int fd) { return Change(set, fd, EV_DELETE, 0); }

int ReadPollSet(int set, uint64_t* ids) {
  struct kevent events[kMaxPolledIds];
  struct timespec none = {0, 0};
  int count = Uninterrupted([&] { return kevent(set, nullptr, 0, events, kMaxPolledIds, &none); });
  if (count < 0) return -errno;
  for (int i = 0; i < count; i++) ids[i] = reinterpret_cast<uintptr_t>(events[i].udata);
  return count;
}

#endif

}  // namespace prefork::sys
