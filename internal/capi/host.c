/* See host.h. All packages with cgo import this one, so each archive that contains Go has the
 * constructor. */
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
/* Points to 0 in a child. On Linux it points into a page that the kernel clears, so that a fork by
 * the bare system call is found too. */
static const volatile unsigned char *not_forked = &parent;
static volatile bool forked; /* by the C library's fork */

bool ffiwaker_forked(void) { return forked || *not_forked == 0; }

#if defined(_WIN32)
static void watch_forks(void) {}

/* Go cannot be unloaded. Go's linker prevents that for the shared libraries that it makes, but an
 * archive can be part of any library. */
static void prevent_unload(void) {
  HMODULE module;
  GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                     (LPCSTR)&parent, &module);
}
#else
static void in_child(void) { forked = true; }

static void watch_forks(void) {
  pthread_atfork(NULL, NULL, in_child);
#if defined(MADV_WIPEONFORK)
  size_t size = (size_t)sysconf(_SC_PAGESIZE);
  unsigned char *page =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return;
  if (madvise(page, size, MADV_WIPEONFORK) != 0) {
    munmap(page, size);
    return;
  }
  *page = 1;
  not_forked = page;
#endif
}

/* Weak: a static program has no loader, and a C library may have these in a separate library. */
#pragma weak dladdr
#pragma weak dlopen

/* Whether this code is part of the program itself; false if that is unknown. */
static bool in_program(const Dl_info *here) {
#if defined(__linux__)
  Dl_info program;
  return dladdr((void *)getauxval(AT_PHDR), &program) != 0 && program.dli_fbase == here->dli_fbase;
#else
  (void)here;
  return false;
#endif
}

/* Go cannot be unloaded. Go's linker prevents that for the shared libraries that it makes, but an
 * archive can be part of any library. */
static void prevent_unload(void) {
#if defined(RTLD_NODELETE) && defined(RTLD_NOLOAD)
  Dl_info here;
  if (dladdr == NULL || dlopen == NULL) return;
  if (dladdr((void *)(uintptr_t)&parent, &here) == 0 || here.dli_fname == NULL) return;
  if (in_program(&here)) return;
  /* The handle is never closed, so it holds a reference to the library. */
  dlopen(here.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
#endif
}
#endif

/* Before Go's own constructor, which starts threads. */
__attribute__((constructor(101))) static void loaded(void) {
  watch_forks();
  prevent_unload();
}
