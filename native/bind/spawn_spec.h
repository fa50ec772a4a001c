// A SpawnSpec from its JavaScript form, for spawn and daemonize.
#ifndef PREFORK_BIND_SPAWN_SPEC_H_
#define PREFORK_BIND_SPAWN_SPEC_H_

#include "bind/args.h"
#include "sys/spawn.h"

namespace prefork {

sys::SpawnSpec ReadSpawnSpec(Args* args, Napi::Object object);

// { pid, pidfd } or { errno, step }.
Napi::Value ToJs(Napi::Env env, const sys::SpawnResult& result);

}  // namespace prefork

#endif  // PREFORK_BIND_SPAWN_SPEC_H_
