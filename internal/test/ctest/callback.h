#ifndef CTEST_CALLBACK_H
#define CTEST_CALLBACK_H
#include <stdint.h>

/* A future whose poll calls Go, and writes size bytes to out if Go returns RAWWAKER_READY. */
typedef struct ctest_callback ctest_callback;
ctest_callback *ctest_callback_new(uintptr_t handle, uintptr_t size);
uintptr_t ctest_callback_vtable(void);

#endif
