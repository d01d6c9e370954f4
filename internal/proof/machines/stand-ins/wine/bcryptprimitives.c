/* Go's programs ask this library for random numbers at their start. Windows has it since 7, wine since 9; for those before. */
#include <windows.h>

#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE to, SIZE_T size) {
  return RtlGenRandom(to, (ULONG)size);
}
