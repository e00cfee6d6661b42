/* A store in memory behind the public API, whose commits complete when the test says so. */
#ifndef FL_TESTS_UNIT_SERVER_FAKE_STORE_H
#define FL_TESTS_UNIT_SERVER_FAKE_STORE_H

#include <faultline/faultline.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Owner: the caller; fake_store_destroy(). One at a time. */
struct fl_store *fake_store_create(void);
void fake_store_destroy(struct fl_store *store);

/* From now on commits stay in flight until fake_store_complete(). */
void fake_store_hold(struct fl_store *store);

/* The oldest commit in flight becomes durable. False: there was none. */
bool fake_store_complete(struct fl_store *store);

/* Every commit in flight has failed, and so will all later ones. */
void fake_store_fail(struct fl_store *store);

/* The put after `puts` more ones finds no space, and each after it; UINT64_MAX: there is space. */
void fake_store_full_after(struct fl_store *store, uint64_t puts);

void fake_store_set_now(struct fl_store *store, uint64_t now_ms);

unsigned fake_store_submits(const struct fl_store *store); /* batches handed over so far */
unsigned fake_store_in_flight(const struct fl_store *store);
unsigned fake_store_views(const struct fl_store *store); /* not yet released */
unsigned fake_store_blobs(const struct fl_store *store); /* neither put nor discarded */

#endif
