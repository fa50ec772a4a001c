#include "sys/forkserver.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "sys/channel.h"
#include "sys/fds.h"
#include "sys/result.h"

namespace prefork::sys {

namespace {

// How long the second worker may wait for what is learnt from the first.
constexpr int kLearnMs = 250;

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

HotPages* hot_pages = nullptr;

}  // namespace

int LearnHotPages() { return hot_pages == nullptr ? 0 : hot_pages->Learn(); }

int ServeForks(int channel, ForkallOptions options, ForkCommand* command) {
  hot_pages = HotPages::Create();
  options.hot_pages = hot_pages;
  int forks = 0;
  std::vector<unsigned char> buffer(kMaxCommandBytes);
  for (;;) {
    std::vector<int> fds;
    int got = ReceiveMessage(channel, buffer.data(), buffer.size(), -1, &fds);
    if (got == -EAGAIN) continue;
    if (got == 0 || got == -ECONNRESET) return 0;
    // A packet that was lost is answered too: the other side counts.
    if (got < 0 && got != -EMSGSIZE && got != -EMFILE) return got;
    if (hot_pages != nullptr) {
      // Those that follow the first closely gain more than they wait.
      if (forks == 1) hot_pages->Await(kLearnMs);
      hot_pages->Arm();
    }
    ForkallFailure failure;
    pid_t pid = got < 0 ? got : Forkall(options, &failure);
    if (pid == 0) {
      CloseFd(channel);
      command->data.assign(buffer.data(), buffer.data() + got);
      command->fds = std::move(fds);
      return kServedChild;
    }
    if (pid > 0) forks++;
    for (int fd : fds) CloseFd(fd);
    int error = ReportFork(channel, pid, failure);
    if (error == -EPIPE) return 0;
    if (error < 0) return error;
  }
}

}  // namespace prefork::sys
