/* A C future that signals wake, one for each poll. */
#include "rawwaker.h"

void signals_install(void);
rawwaker_future signals_future(uint64_t rounds);
typedef struct signals_counts {
  uint64_t signals, polls, changed_errno, drops;
} signals_counts;
signals_counts signals_counted(void);
