// Unix listeners: mode and owner, stale files replaced, live ones never.
#include "sys/unix_listener.h"

#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "check.h"
#include "sys/fd.h"
#include "sys/sockets.h"

using namespace prefork::sys;

namespace {

UnixSpec At(const std::string& path) {
  UnixSpec spec;
  spec.path = path;
  return spec;
}

struct sockaddr_un NameOf(const std::string& path) {
  struct sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  memcpy(name.sun_path, path.data(), path.size());
  return name;
}

// A socket as other programs make it: bound, and listening if `backlog` ≥ 0.
Fd Foreign(const std::string& path, int type, int backlog) {
  Fd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  struct sockaddr_un name = NameOf(path);
  CHECK_EQ(bind(fd.get(), reinterpret_cast<struct sockaddr*>(&name), sizeof(name)), 0);
  if (backlog >= 0) CHECK_EQ(listen(fd.get(), backlog), 0);
  return fd;
}

int Connect(const std::string& path, Fd* fd) {
  fd->Reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  struct sockaddr_un name = NameOf(path);
  return connect(fd->get(), reinterpret_cast<struct sockaddr*>(&name), sizeof(name)) < 0 ? -errno : 0;
}

struct stat StatusOf(const std::string& path) {
  struct stat status = {};
  CHECK_EQ(lstat(path.c_str(), &status), 0);
  return status;
}

}  // namespace

TEST(listens_and_is_named) {
  TempDirectory directory;
  std::string path = directory / "s";
  Fd fd(ListenUnix(At(path)));
  CHECK(fd.ok());
  CHECK(fcntl(fd.get(), F_GETFD) & FD_CLOEXEC);
  CHECK(fcntl(fd.get(), F_GETFL) & O_NONBLOCK);
  SockName name;
  CHECK_EQ(GetSockName(fd.get(), &name), 0);
  CHECK(name.family == SockName::Family::kUnix && name.listening);
  CHECK_EQ(name.address, path);
  Fd client;
  CHECK_EQ(Connect(path, &client), 0);
}

TEST(gives_mode_and_owner_whatever_the_umask) {
  TempDirectory directory;
  for (mode_t mask : {0, 022, 0777}) {
    mode_t before = umask(mask);
    for (mode_t mode : {0600, 0660, 0777, 0}) {
      std::string path = directory / "s";
      UnixSpec spec = At(path);
      spec.mode = mode;
      if (getuid() == 0) spec.uid = 65534, spec.gid = 1;
      Fd fd(ListenUnix(spec));
      CHECK(fd.ok());
      struct stat status = StatusOf(path);
      CHECK_EQ(status.st_mode & 07777, mode);
      if (getuid() == 0) CHECK(status.st_uid == 65534 && status.st_gid == 1);
      unlink(path.c_str());
    }
    CHECK_EQ(umask(before), mask);
  }
}

TEST(leaves_nothing_when_the_owner_cannot_be_given) {
  if (getuid() != 0) return;
  TempDirectory directory;
  chmod(directory.path().c_str(), 0777);
  InProcess([&] {
    CHECK_EQ(setresuid(65534, 65534, 65534), 0);
    UnixSpec spec = At(directory / "s");
    spec.uid = 1;
    CHECK_EQ(ListenUnix(spec), -EPERM);
    CHECK_EQ(access(spec.path.c_str(), F_OK), -1);
  });
}

TEST(replaces_a_stale_socket) {
  TempDirectory directory;
  std::string path = directory / "s";
  Foreign(path, SOCK_STREAM, 1).Reset(-1);
  Fd fd(ListenUnix(At(path)));
  CHECK(fd.ok());
  Fd client;
  CHECK_EQ(Connect(path, &client), 0);
}

TEST(replaces_a_stale_socket_whose_connections_live) {
  TempDirectory directory;
  std::string path = directory / "s";
  Fd client, accepted;
  {
    Fd old = Foreign(path, SOCK_STREAM, 1);
    CHECK_EQ(Connect(path, &client), 0);
    accepted.Reset(accept4(old.get(), nullptr, nullptr, SOCK_CLOEXEC));
    CHECK(accepted.ok());
  }
  Fd fd(ListenUnix(At(path)));
  CHECK(fd.ok());
}

TEST(never_takes_a_live_one) {
  TempDirectory directory;
  std::string path = directory / "s";
  struct {
    const char* what;
    int type, backlog;
  } kinds[] = {{"listening", SOCK_STREAM, 5}, {"bound, about to listen", SOCK_STREAM, -1}, {"a full queue", SOCK_STREAM, 0},
               {"datagrams", SOCK_DGRAM, -1}, {"packets", SOCK_SEQPACKET, 1}};
  for (const auto& kind : kinds) {
    Fd live = Foreign(path, kind.type, kind.backlog);
    std::vector<Fd> clients(4);
    if (kind.backlog == 0) {
      for (Fd& client : clients) Connect(path, &client);
    }
    ino_t inode = StatusOf(path).st_ino;
    CHECK_EQ(ListenUnix(At(path)), -EADDRINUSE);
    CHECK_EQ(StatusOf(path).st_ino, inode);
    unlink(path.c_str());
  }
}

TEST(never_takes_one_that_it_may_not_connect_to) {
  if (getuid() != 0) return;
  TempDirectory directory;
  chmod(directory.path().c_str(), 0777);
  std::string path = directory / "s";
  Fd live = Foreign(path, SOCK_STREAM, 5);
  chmod(path.c_str(), 0700);
  InProcess([&] {
    CHECK_EQ(setresuid(65534, 65534, 65534), 0);
    CHECK_EQ(ListenUnix(At(path)), -EADDRINUSE);
  });
  CHECK(S_ISSOCK(StatusOf(path).st_mode));
}

TEST(leaves_other_files_alone) {
  TempDirectory directory;
  std::string path = directory / "s";
  close(open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  CHECK_EQ(ListenUnix(At(path)), -ENOTSOCK);
  CHECK(S_ISREG(StatusOf(path).st_mode));
  unlink(path.c_str());
  CHECK_EQ(symlink("/nonexistent", path.c_str()), 0);
  CHECK_EQ(ListenUnix(At(path)), -ENOTSOCK);
  CHECK(S_ISLNK(StatusOf(path).st_mode));
  CHECK_EQ(ListenUnix(At(directory.path())), -ENOTSOCK);
}

TEST(refuses_paths_that_cannot_be) {
  TempDirectory directory;
  CHECK_EQ(ListenUnix(At("")), -EINVAL);
  CHECK_EQ(ListenUnix(At("/tmp/" + std::string(103, 'x'))), -ENAMETOOLONG);
  std::string longest = directory.path() + "/" + std::string(107 - directory.path().size() - 1, 'x');
  CHECK(Fd(ListenUnix(At(longest))).ok());
  CHECK_EQ(ListenUnix(At(directory / "no/s")), -ENOENT);
  CHECK_EQ(ListenUnix(At("/proc/s")), -ENOENT);
}

TEST(takes_abstract_names) {
  std::string name = std::string("\0prefork-test-", 14) + std::to_string(getpid());
  Fd fd(ListenUnix(At(name)));
  CHECK(fd.ok());
  CHECK_EQ(ListenUnix(At(name)), -EADDRINUSE);
  SockName got;
  CHECK_EQ(GetSockName(fd.get(), &got), 0);
  CHECK(got.address == name);
}

TEST(waits_for_the_lock_but_not_for_ever) {
  TempDirectory directory;
  Fd foreign(open(directory.path().c_str(), O_RDONLY | O_CLOEXEC));
  CHECK_EQ(flock(foreign.get(), LOCK_EX), 0);
  Fd fd(ListenUnix(At(directory / "s")));
  CHECK(fd.ok());
}

TEST(one_of_many_takes_a_stale_socket) {
  for (int round = 0; round < 30; round++) {
    TempDirectory directory;
    std::string path = directory / "s";
    Foreign(path, SOCK_STREAM, 1).Reset(-1);
    int go[2], winners[2], done[2];
    CHECK(pipe2(go, O_CLOEXEC) == 0 && pipe2(winners, O_CLOEXEC) == 0 && pipe2(done, O_CLOEXEC) == 0);
    for (int i = 0; i < 6; i++) {
      if (fork() != 0) continue;
      char byte;
      close(go[1]), close(done[1]);
      (void)!read(go[0], &byte, 1);
      int fd = ListenUnix(At(path));
      char outcome = fd >= 0 ? 'w' : fd == -EADDRINUSE ? 'l' : '?';
      (void)!write(winners[1], &outcome, 1);
      (void)!read(done[0], &byte, 1);  // the winner listens until all have tried
      _exit(0);
    }
    close(go[0]), close(go[1]), close(done[0]), close(winners[1]);
    int won = 0, other = 0;
    for (int i = 0; i < 6; i++) {
      char outcome = 0;
      CHECK_EQ(read(winners[0], &outcome, 1), 1);
      won += outcome == 'w';
      other += outcome == '?';
    }
    CHECK_EQ(won, 1);
    CHECK_EQ(other, 0);
    Fd client;
    CHECK_EQ(Connect(path, &client), 0);  // and the file is the winner's
    close(done[1]), close(winners[0]);
    for (int i = 0; i < 6; i++) wait(nullptr);
  }
}
