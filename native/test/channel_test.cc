// Packets with descriptors.
#include "sys/channel.h"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "check.h"
#include "sys/fd.h"

using namespace prefork::sys;

namespace {

struct Pair {
  Pair() {
    int ends[2];
    CHECK_EQ(ChannelPair(ends), 0);
    a.Reset(ends[0]);
    b.Reset(ends[1]);
  }
  Fd a, b;
};

int Send(const Fd& fd, const std::string& text, const std::vector<int>& fds = {}) {
  return SendMessage(fd.get(), text.data(), text.size(), fds);
}

// The packet, or the result as text where that is ≤ 0.
std::string Receive(const Fd& fd, std::vector<int>* fds = nullptr, int timeout_ms = 0, size_t bytes = 65536) {
  std::vector<char> buffer(bytes);
  std::vector<int> received;
  int got = ReceiveMessage(fd.get(), buffer.data(), bytes, timeout_ms, &received);
  if (fds != nullptr) {
    *fds = received;
  } else {
    for (int passed : received) close(passed);
  }
  return got > 0 ? std::string(buffer.data(), static_cast<size_t>(got)) : std::to_string(got);
}

std::string Text(int error) { return std::to_string(error); }

}  // namespace

TEST(keeps_packets_apart) {
  Pair pair;
  CHECK(fcntl(pair.a.get(), F_GETFD) & FD_CLOEXEC);
  CHECK(fcntl(pair.b.get(), F_GETFL) & O_NONBLOCK);
  CHECK_EQ(Receive(pair.b), Text(-EAGAIN));
  CHECK_EQ(Send(pair.a, "one"), 3);
  CHECK_EQ(Send(pair.a, std::string(65536, 'x')), 65536);
  CHECK_EQ(Receive(pair.b), std::string("one"));
  CHECK_EQ(Receive(pair.b), std::string(65536, 'x'));
  CHECK_EQ(Send(pair.a, ""), -EINVAL);
}

TEST(passes_descriptors) {
  Pair pair;
  Fd file(open("/etc/passwd", O_RDONLY));
  std::vector<int> many(kMaxPassedFds, file.get());
  CHECK_EQ(Send(pair.a, "x", many), 1);
  many.push_back(file.get());
  CHECK_EQ(Send(pair.a, "x", many), -EINVAL);
  CHECK_EQ(Send(pair.a, "x", {999}), -EBADF);
  std::vector<int> received;
  CHECK_EQ(Receive(pair.b, &received), std::string("x"));
  CHECK_EQ(received.size(), kMaxPassedFds);
  struct stat sent, got;
  fstat(file.get(), &sent);
  for (int fd : received) {
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(fstat(fd, &got) == 0 && got.st_ino == sent.st_ino);
    close(fd);
  }
}

TEST(drops_what_does_not_fit_whole) {
  Pair pair;
  Fd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
  CHECK_EQ(Send(pair.a, "too long", {file.get()}), 8);
  CHECK_EQ(Send(pair.a, "ok"), 2);
  CHECK_EQ(Receive(pair.b, nullptr, 0, 4), Text(-EMSGSIZE));
  CHECK_EQ(Receive(pair.b, nullptr, 0, 4), std::string("ok"));
}

TEST(drops_a_packet_whose_descriptors_find_no_room) {
  InProcess([] {
    Pair pair;
    Fd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
    CHECK_EQ(Send(pair.a, "x", {file.get(), file.get(), file.get()}), 1);
    struct rlimit limit = {static_cast<rlim_t>(file.get()) + 2, static_cast<rlim_t>(file.get()) + 2};
    setrlimit(RLIMIT_NOFILE, &limit);
    std::string before = OpenFds();
    CHECK_EQ(Receive(pair.b), Text(-EMFILE));
    CHECK_EQ(OpenFds(), before);
  });
}

TEST(tells_a_full_queue_and_a_peer_that_is_gone) {
  signal(SIGPIPE, SIG_DFL);  // which must not matter
  Pair pair;
  int sent = 0;
  while (Send(pair.a, std::string(1000, 'x')) > 0 && sent < 100000) sent++;
  CHECK(sent > 0 && sent < 100000);
  CHECK_EQ(Send(pair.a, "x"), -EAGAIN);
  CHECK_EQ(Receive(pair.b).size(), 1000u);
  CHECK(Send(pair.a, "x") > 0);
  pair.b.Reset(-1);
  CHECK_EQ(Send(pair.a, "x"), -EPIPE);
  CHECK_EQ(Receive(pair.a), Text(0));
}

TEST(delivers_the_last_words_of_a_peer_that_left_packets_unread) {
  Pair pair;
  CHECK_EQ(Send(pair.a, "never read"), 10);
  CHECK_EQ(Send(pair.b, "last words"), 10);
  pair.b.Reset(-1);
  CHECK_EQ(Receive(pair.a), std::string("last words"));
  CHECK_EQ(Receive(pair.a), Text(0));
  CHECK_EQ(Send(pair.a, "x"), -EPIPE);
}

TEST(waits_as_long_as_asked) {
  Pair pair;
  CHECK_EQ(Receive(pair.b, nullptr, 20), Text(-EAGAIN));
  pid_t pid = fork();
  if (pid == 0) {
    pair.b.Reset(-1);
    usleep(20000);
    _exit(Send(pair.a, "late") == 4 ? 0 : 1);
  }
  CHECK_EQ(Receive(pair.b, nullptr, -1), std::string("late"));
  int status;
  waitpid(pid, &status, 0);
  CHECK_EQ(status, 0);
}

TEST(goes_on_waiting_after_a_signal) {
  Pair pair;
  struct sigaction action = {};
  action.sa_handler = [](int) {};  // without SA_RESTART
  sigaction(SIGUSR1, &action, nullptr);
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid == 0) {
    for (int i = 0; i < 20; i++) kill(parent, SIGUSR1), usleep(1000);
    _exit(Send(pair.a, "done") == 4 ? 0 : 1);
  }
  CHECK_EQ(Receive(pair.b, nullptr, 10000), std::string("done"));
  waitpid(pid, nullptr, 0);
  signal(SIGUSR1, SIG_DFL);
}
