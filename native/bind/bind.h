// What addon.cc calls: each native/bind/*_bind.cc puts its functions on `exports`.
#ifndef PREFORK_BIND_BIND_H_
#define PREFORK_BIND_BIND_H_

#include <napi.h>

namespace prefork {

void InitChannel(Napi::Env env, Napi::Object exports);
void InitDaemon(Napi::Env env, Napi::Object exports);
void InitFeatures(Napi::Env env, Napi::Object exports);
void InitFds(Napi::Env env, Napi::Object exports);
void InitForkserver(Napi::Env env, Napi::Object exports);
void InitIdle(Napi::Env env, Napi::Object exports);
void InitNotify(Napi::Env env, Napi::Object exports);
void InitPidfdInfo(Napi::Env env, Napi::Object exports);
void InitPoller(Napi::Env env, Napi::Object exports);
void InitReap(Napi::Env env, Napi::Object exports);
void InitShm(Napi::Env env, Napi::Object exports);
void InitSigguard(Napi::Env env, Napi::Object exports);
void InitSignals(Napi::Env env, Napi::Object exports);
void InitSockets(Napi::Env env, Napi::Object exports);
void InitSpawn(Napi::Env env, Napi::Object exports);

}  // namespace prefork

#endif  // PREFORK_BIND_BIND_H_
