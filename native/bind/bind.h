// What addon.cc calls: each native/bind/*_bind.cc puts its functions on `exports`.
#ifndef PREFORK_BIND_BIND_H_
#define PREFORK_BIND_BIND_H_

#include <napi.h>

namespace prefork {

void InitForkserver(Napi::Env env, Napi::Object exports);

}  // namespace prefork

#endif  // PREFORK_BIND_BIND_H_
