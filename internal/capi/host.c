/* See host.h. The constructor is in the package that all others import, so each archive with Go's half in it has it. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "host.h"

#include <stddef.h>
#include <stdint.h>
#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#endif

static const unsigned char parent = 1;
/* 0 in a child. On Linux it is in a page that the kernel clears: a fork by the system call alone is seen too. */
static const volatile unsigned char *alive = &parent;
static volatile bool forked; /* by the C library's fork */

bool ffiwaker_forked(void) { return forked || *alive == 0; }

#if defined(_WIN32)
static void watch_forks(void) {}

/* Go cannot be unloaded. Its own linker sees to that for a shared library that it makes; an archive can be in any. */
static void stay(void) {
  HMODULE module;
  GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN, (LPCSTR)&parent, &module);
}
#else
static void in_child(void) { forked = true; }

static void watch_forks(void) {
  pthread_atfork(NULL, NULL, in_child);
#if defined(MADV_WIPEONFORK)
  size_t size = (size_t)sysconf(_SC_PAGESIZE);
  unsigned char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return;
  if (madvise(page, size, MADV_WIPEONFORK) != 0) {
    munmap(page, size);
    return;
  }
  *page = 1;
  alive = page;
#endif
}

/* Weak: a static program has no loader, and a C library may keep these in a library of their own. */
#pragma weak dladdr
#pragma weak dlopen

/* Whether this is the program itself; false if that is not known. */
static bool in_program(const Dl_info *here) {
#if defined(__linux__)
  Dl_info program;
  return dladdr((void *)getauxval(AT_PHDR), &program) != 0 && program.dli_fbase == here->dli_fbase;
#else
  (void)here;
  return false;
#endif
}

/* Go cannot be unloaded. Its own linker sees to that for a shared library that it makes; an archive can be in any. */
static void stay(void) {
#if defined(RTLD_NODELETE) && defined(RTLD_NOLOAD)
  Dl_info here;
  if (dladdr == NULL || dlopen == NULL || dladdr((void *)(uintptr_t)&parent, &here) == 0 || here.dli_fname == NULL) return;
  if (in_program(&here)) return;
  dlopen(here.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE); /* the handle is kept, and with it a reference */
#endif
}
#endif

/* Before Go's own constructor, which starts threads. */
__attribute__((constructor(101))) static void loaded(void) {
  watch_forks();
  stay();
}
