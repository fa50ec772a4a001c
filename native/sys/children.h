// Which live children are this addon's own, so that nobody else's exit is ever taken.
#ifndef PREFORK_SYS_CHILDREN_H_
#define PREFORK_SYS_CHILDREN_H_

#include <sys/types.h>

#include <vector>

namespace prefork::sys {

// From the spawn or fork of a child to its reaping. Safe to call from several threads.
void RegisterChild(pid_t pid);
void ForgetChild(pid_t pid);
bool IsOwnChild(pid_t pid);
std::vector<pid_t> OwnChildren();
// In a process forked without exec: its parent's children are not its own.
void ForgetAllChildren();

// Every child of this process, whoever started it, the dead but unreaped included. −errno where it cannot be found out.
int ListChildren(std::vector<pid_t>* pids);

}  // namespace prefork::sys

#endif  // PREFORK_SYS_CHILDREN_H_
