#include "sys/forkserver.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "sys/channel.h"
#include "sys/fds.h"
#include "sys/result.h"

namespace prefork::sys {

namespace {

constexpr size_t kMaxCommandBytes = 256 * 1024;

// Thread names are arbitrary bytes; what JSON would need escaped does not matter in them.
void CopyPlain(const char* from, char* to, size_t size) {
  size_t i = 0;
  for (; i + 1 < size && from[i] != '\0'; i++) {
    bool plain = from[i] >= ' ' && from[i] <= '~' && from[i] != '"' && from[i] != '\\';
    to[i] = plain ? from[i] : '?';
  }
  to[i] = '\0';
}

// Waits for room: the manager reads when it gets to it. 0 or −errno.
int Report(int channel, const char* text) {
  for (;;) {
    int sent = SendMessage(channel, text, strlen(text), {});
    if (sent != -EAGAIN) return sent < 0 ? sent : 0;
    struct pollfd room = {channel, POLLOUT, 0};
    if (Uninterrupted([&] { return poll(&room, 1, -1); }) < 0) return -errno;
  }
}

int ReportFork(int channel, pid_t pid, const ForkallFailure& failure) {
  char text[512];
  if (pid > 0) {
    snprintf(text, sizeof(text), R"({"type":"forked","pid":%d})", pid);
  } else {
    char thread[sizeof(failure.name)];
    CopyPlain(failure.name, thread, sizeof(thread));
    snprintf(text, sizeof(text),
             R"({"type":"forkFailed","errno":%d,"step":"%s","pid":%d,"thread":"%s","tid":%d,"syscall":%ld})", pid,
             ForkallStepName(failure.step), failure.pid, thread, failure.tid, failure.syscall);
  }
  return Report(channel, text);
}

}  // namespace

int ServeForks(int channel, const ForkallOptions& options, ForkCommand* command) {
  std::vector<unsigned char> buffer(kMaxCommandBytes);
  for (;;) {
    std::vector<int> fds;
    int got = ReceiveMessage(channel, buffer.data(), buffer.size(), -1, &fds);
    if (got == -EAGAIN) continue;
    if (got == 0 || got == -ECONNRESET) return 0;
    // A packet that was lost is answered too: the other side counts.
    if (got < 0 && got != -EMSGSIZE && got != -EMFILE) return got;
    ForkallFailure failure;
    pid_t pid = got < 0 ? got : Forkall(options, &failure);
    if (pid == 0) {
      CloseFd(channel);
      command->data.assign(buffer.data(), buffer.data() + got);
      command->fds = std::move(fds);
      return kServedChild;
    }
    for (int fd : fds) CloseFd(fd);
    int error = ReportFork(channel, pid, failure);
    if (error == -EPIPE) return 0;
    if (error < 0) return error;
  }
}

}  // namespace prefork::sys
