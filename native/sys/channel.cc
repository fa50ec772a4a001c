#include "sys/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "sys/fds.h"
#include "sys/result.h"

namespace prefork::sys {

namespace {

#ifdef __linux__
constexpr int kPacketType = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;
constexpr int kReceiveFlags = MSG_CMSG_CLOEXEC | MSG_DONTWAIT;
constexpr int kSendFlags = MSG_NOSIGNAL | MSG_DONTWAIT;
#else
constexpr int kPacketType = SOCK_DGRAM;  // macOS has no packets with connections on Unix sockets
constexpr int kReceiveFlags = MSG_DONTWAIT;
constexpr int kSendFlags = MSG_DONTWAIT;
#endif

union Control {
  struct cmsghdr align;
  char bytes[CMSG_SPACE(sizeof(int) * kMaxPassedFds)];
};

int64_t NowMs() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

// 0: readable; −EAGAIN: not within the time.
int AwaitReadable(int fd, int timeout_ms) {
  int64_t deadline = NowMs() + timeout_ms;
  struct pollfd polled = {fd, POLLIN, 0};
  for (int left = timeout_ms;;) {
    int ready = poll(&polled, 1, left);
    if (ready > 0) return 0;
    if (ready == 0) return -EAGAIN;
    if (errno != EINTR) return -errno;
    if (timeout_ms > 0) {
      int64_t rest = deadline - NowMs();
      left = rest > 0 ? static_cast<int>(rest) : 0;
    }
  }
}

void TakeFds(struct msghdr* message, std::vector<int>* fds) {
  for (struct cmsghdr* part = CMSG_FIRSTHDR(message); part != nullptr; part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(fd));
#ifndef __linux__
      SetCloexec(fd, true);
#endif
      fds->push_back(fd);
    }
  }
}

// A peer that closed with unread packets leaves one ECONNRESET behind, before what it sent itself can be read.
template <typename F>
ssize_t PastReset(F call) {
  ssize_t returned = Uninterrupted(call);
  return returned < 0 && errno == ECONNRESET ? Uninterrupted(call) : returned;
}

}  // namespace

int ChannelPair(int ends[2]) {
  if (socketpair(AF_UNIX, kPacketType, 0, ends) < 0) return -errno;
#ifndef __linux__
  for (int i = 0; i < 2; i++) {
    SetCloexec(ends[i], true);
    SetNonblocking(ends[i]);
    int on = 1;
    setsockopt(ends[i], SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
  }
#endif
  return 0;
}

int SendMessage(int fd, const void* data, size_t bytes, const std::vector<int>& fds) {
  if (bytes == 0 || fds.size() > kMaxPassedFds) return -EINVAL;
  struct iovec part = {const_cast<void*>(data), bytes};
  struct msghdr message;
  memset(&message, 0, sizeof(message));
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  Control control;
  if (!fds.empty()) {
    size_t length = sizeof(int) * fds.size();
    memset(&control, 0, sizeof(control));
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(length);
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(header), fds.data(), length);
  }
  return static_cast<int>(Checked(PastReset([&] { return sendmsg(fd, &message, kSendFlags); })));
}

int ReceiveMessage(int fd, void* buffer, size_t bytes, int timeout_ms, std::vector<int>* fds) {
  if (timeout_ms != 0) {
    int error = AwaitReadable(fd, timeout_ms);
    if (error < 0) return error;
  }
  struct iovec part = {buffer, bytes};
  Control control;
  struct msghdr message;
  ssize_t got = PastReset([fd, &part, &message, control_bytes = &control.bytes[0]] {
    memset(&message, 0, sizeof(message));
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control_bytes;
    message.msg_controllen = sizeof(Control::bytes);
    return recvmsg(fd, &message, kReceiveFlags);
  });
  if (got < 0) return -errno;
  TakeFds(&message, fds);
  int lost = message.msg_flags & MSG_TRUNC ? -EMSGSIZE : message.msg_flags & MSG_CTRUNC ? -EMFILE : 0;
  if (lost == 0) return static_cast<int>(got);
  for (int received : *fds) CloseFd(received);
  fds->clear();
  return lost;
}

}  // namespace prefork::sys
