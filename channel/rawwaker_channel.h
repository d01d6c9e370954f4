/* rawwaker_channel.h - a bounded channel whose receiving end is a stream of rawwaker.h.
 *
 * Several threads send, and one task receives. If the channel is full, a sender gets
 * RAWWAKER_FULL and awaits rawwaker_sender_room, so memory stays bounded by the capacity. Add this
 * file and rawwaker_channel.c to a program beside rawwaker.h and rawwaker.c.
 *
 *   start:    the engine begins to produce, with the sender tx
 *   produce:  while (rawwaker_sender_try_send(tx, &item) == RAWWAKER_FULL)
 *               rawwaker_block_on(rawwaker_sender_room(tx), NULL);    or await it in the engine;
 *                                                     room_for(tx, n) if it has many more items
 *   the end:  rawwaker_sender_drop(tx);
 *
 * No call waits for another thread, and no slot or callback is called under a lock. Items arrive in
 * the order in which try_send took its place in the channel. If a thread stops inside try_send, the
 * items that were sent after its own are held back until it continues. If a thread stops in the
 * middle of a wake, so is that wake: the receiver's, with the wakes of other senders that coalesced
 * with it, or a room's. The five parts of each comment are those of rawwaker.h.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RAWWAKER_CHANNEL_H
#define RAWWAKER_CHANNEL_H

#include "rawwaker.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One sending end. Its clones are further ones. */
typedef struct rawwaker_sender rawwaker_sender;

/* The callbacks of a oneshot, with these differences. start is called by the stream's first poll.
 * cancel is called once at most, if the stream is dropped after start while a sender exists and
 * none has failed. destroy gets one item that was sent and will not be received, on the thread
 * that drops the stream or on a sender's thread. */
typedef rawwaker_oneshot_ops rawwaker_channel_ops;

enum { RAWWAKER_SENT = 0, RAWWAKER_FULL = 1, RAWWAKER_CLOSED = 2 };

/* Returns the stream of a channel that holds up to capacity items of size bytes, and its first
 * sender in *tx. The ring has the next power of two of capacity as its places. align is a power of
 * two, or 0, which counts as 1. If ops or ops->start is NULL, the sender may be used at once;
 * otherwise from the moment start is called. A stream that is dropped before its first poll was
 * never started: its sender ends with it, and only release is called. If poll_next is given a NULL
 * out for items that have a size, it gives PANICKED.
 * takes arg, until release | gives a stream and *tx | threads any | signals no
 * | fails: abort on a NULL tx, a capacity of 0, an align that is no power of two, or out of
 * memory */
RAWWAKER_API rawwaker_stream rawwaker_channel_new(size_t size, size_t align, size_t capacity,
                                                  const rawwaker_channel_ops *ops, void *arg,
                                                  rawwaker_sender **tx);

/* Copies the item into the channel and wakes the receiver. If it returns RAWWAKER_FULL or
 * RAWWAKER_CLOSED (the stream was dropped, or a sender has failed), nothing was copied: the item
 * stays yours, and destroy is not called for it. If it returns RAWWAKER_SENT and the stream is
 * dropped meanwhile, it may call destroy for items before it returns.
 * takes - (borrows tx and item) | gives one of the three | threads any, several at once | signals
 * no | fails never */
RAWWAKER_API int rawwaker_sender_try_send(rawwaker_sender *tx, const void *item);

/* Returns a future of nothing that is ready when there is room, or when the channel is closed. It
 * reserves nothing, so a try_send after it may still find the channel full. It is no sender: it
 * neither keeps the stream open nor ends it, and it may outlive tx. A place that becomes free wakes
 * one waiting room. A room that was woken and is dropped, or that gives READY while there is more
 * space, wakes the next. So whoever is given READY sends next: a place that is left unused then
 * wakes no other room until an item is received. The memory of a room is reused by later ones, and
 * freed with the channel.
 * takes - (borrows tx) | gives a future | threads any | signals no | fails: abort out of memory */
RAWWAKER_API rawwaker_future rawwaker_sender_room(rawwaker_sender *tx);

/* The same for n items at once, at most the capacity; 0 counts as 1. A thread that produces faster
 * than the receiver takes items is woken once for n of them, not for each: half of the capacity is
 * a good n, and the whole capacity takes the least CPU time. Rooms that wait for fewer places may
 * be woken before it each time.
 * takes - (borrows tx) | gives a future | threads any | signals no | fails: abort out of memory */
RAWWAKER_API rawwaker_future rawwaker_sender_room_for(rawwaker_sender *tx, size_t n);

/* Returns another sender of the channel.
 * takes - (borrows tx) | gives a sender | threads any | signals no
 * | fails: abort at half of the range of a count */
RAWWAKER_API rawwaker_sender *rawwaker_sender_clone(rawwaker_sender *tx);

/* Ends this sender. The last one ends the stream: after the items that were sent it gives DONE.
 * takes tx | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_sender_drop(rawwaker_sender *tx);

/* Ends this sender and closes the channel for all others. After the items already sent, the stream
 * gives PANICKED, with len bytes of msg as its text, cut at 1 KiB; of several failures the first
 * one counts. If there is no memory for the text, it is "channel: out of memory".
 * takes tx; borrows msg | gives - | threads any | signals no
 * | fails: the text is channel: out of memory */
RAWWAKER_API void rawwaker_sender_fail(rawwaker_sender *tx, const char *msg, size_t len);

#ifdef __cplusplus
}
#endif

#endif /* RAWWAKER_CHANNEL_H */
