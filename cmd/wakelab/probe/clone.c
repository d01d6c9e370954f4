/* wakelab layout --abi compiles this and reads how a struct of two words is returned. */
typedef struct rawwaker {
  void *data;
  const void *vtable;
} rawwaker;

rawwaker clone(void *data) {
  (void)data;
  rawwaker w = {(void *)0x11, (const void *)0x22};
  return w;
}
