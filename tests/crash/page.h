/* Text that grows in a buffer of a given size, which may be shared between processes. What doesn't fit is left out. */
#ifndef FL_TESTS_CRASH_PAGE_H
#define FL_TESTS_CRASH_PAGE_H

#include <stddef.h>
#include <stdint.h>

struct page {
    size_t size; /* of text */
    size_t used;
    char *text; /* always ends with 0 */
};

/* In memory that children share. Ends the program if there is none. */
struct page *page_create(size_t size);
void page_destroy(struct page *page);

void page_add(struct page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As text within HTML. */
void page_add_escaped(struct page *page, const char *text);
/* As a JSON string, quotes included. */
void page_add_json(struct page *page, const char *text);

#endif
