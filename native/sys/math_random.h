// The generator behind V8's Math.random, which a fork copies and nothing in its interface can seed anew.
#ifndef PREFORK_SYS_MATH_RANDOM_H_
#define PREFORK_SYS_MATH_RANDOM_H_

#ifdef __linux__

#include <stdint.h>

namespace prefork::sys {

// V8 keeps, side by side in each native context: an index, an array of 64 numbers that Math.random hands out from its
// end, and the 128-bit state that the next 64 are made from.
class MathRandom {
 public:
  // `handle`: of a context's own Math.random. `drawn`: the number that it gave last, since when no other was drawn.
  // false: not found, so that this V8 is laid out otherwise. No JavaScript may run between this and the other calls.
  bool Find(const void* handle, double drawn);
  // The next number will be the first that this state gives; must not be all zero.
  void Reseed(const uint64_t state[2]);
  void State(uint64_t state[2]) const;

 private:
  bool FindIn(uint64_t context, double drawn);
  bool Matches(uint64_t index, uint64_t array, uint64_t state, double drawn) const;

  volatile uint64_t* index_ = nullptr;
  volatile uint64_t* state_ = nullptr;
};

}  // namespace prefork::sys

#endif  // __linux__

#endif  // PREFORK_SYS_MATH_RANDOM_H_
