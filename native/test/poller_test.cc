// One descriptor for many.
#include "sys/poller.h"

#include <poll.h>

#include <set>

#include "check.h"
#include "sys/fd.h"
#include "sys/fork.h"

using namespace prefork::sys;

static bool Readable(int fd) {
  struct pollfd polled = {fd, POLLIN, 0};
  return poll(&polled, 1, 0) == 1;
}

TEST(reports_what_is_readable_until_it_is_not) {
  Fd set(CreatePollSet());
  CHECK(fcntl(set.get(), F_GETFD) & FD_CLOEXEC);
  Fd read_end, write_end;
  MakePipe(&read_end, &write_end);
  uint64_t ids[kMaxPolledIds];
  const uint64_t id = (uint64_t{1} << 53) - 1;
  CHECK_EQ(AddToPollSet(set.get(), read_end.get(), id), 0);
  CHECK_EQ(AddToPollSet(set.get(), read_end.get(), 1), -EEXIST);
  CHECK_EQ(ReadPollSet(set.get(), ids), 0);
  CHECK(!Readable(set.get()));
  CHECK_EQ(write(write_end.get(), "x", 1), 1);
  CHECK(Readable(set.get()));
  for (int i = 0; i < 2; i++) {
    CHECK_EQ(ReadPollSet(set.get(), ids), 1);
    CHECK_EQ(ids[0], id);
  }
  CHECK_EQ(RemoveFromPollSet(set.get(), read_end.get()), 0);
  CHECK_EQ(RemoveFromPollSet(set.get(), read_end.get()), -ENOENT);
  CHECK(!Readable(set.get()));
  CHECK_EQ(AddToPollSet(set.get(), -1, 1), -EBADF);
  Fd file(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
  CHECK_EQ(AddToPollSet(set.get(), file.get(), 1), -EPERM);
}

TEST(gives_every_one_its_turn) {
  constexpr size_t kPipes = 300;
  Fd set(CreatePollSet());
  std::vector<Fd> reads(kPipes), writes(kPipes);
  for (size_t i = 0; i < kPipes; i++) {
    CHECK_EQ(MakePipe(&reads[i], &writes[i]), 0);
    CHECK_EQ(AddToPollSet(set.get(), reads[i].get(), i), 0);
    CHECK_EQ(write(writes[i].get(), "x", 1), 1);
  }
  std::set<uint64_t> seen;
  for (int turn = 0; turn < 2; turn++) {
    uint64_t ids[kMaxPolledIds];
    CHECK_EQ(ReadPollSet(set.get(), ids), static_cast<int>(kMaxPolledIds));
    seen.insert(ids, ids + kMaxPolledIds);
  }
  CHECK_EQ(seen.size(), kPipes);
}
