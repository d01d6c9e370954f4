/* Go programs call this library for random numbers at their start. Windows has it since 7, and wine
 * since 9; this file is for older versions of wine. */
#include <windows.h>

#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE to, SIZE_T size) {
  return RtlGenRandom(to, (ULONG)size);
}
