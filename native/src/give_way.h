#pragma once

namespace switchyard {

/**
 * Lets the threads that answer go before the calling one, whose work may wait: it is nicer by `by`, and does not take the
 * processor from others when it wakes. Where the scheduler knows slices (Linux 6.12 and later) its are long: those that wake
 * with shorter ones need not wait for the end of its turn, which lasts milliseconds however nice it is. For good: without
 * privileges no thread can raise its priority again. Does nothing but on Linux, and where that refuses.
 */
void giveWay(int by);

}  // namespace switchyard
