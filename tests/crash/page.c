#include "tests/crash/page.h"

#include "tests/lib/die.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct page *
page_create(size_t size)
{
    struct page *page =
        mmap(NULL, sizeof(*page) + size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED) {
        die_errno("mmap");
    }
    page->size = size;
    page->text = (char *)(page + 1);
    return page;
}

void
page_destroy(struct page *page)
{
    (void)munmap(page, sizeof(*page) + page->size);
}

void
page_add(struct page *page, const char *format, ...)
{
    const size_t room = page->size - page->used;
    va_list args;

    va_start(args, format);
    const int n = vsnprintf(page->text + page->used, room, format, args);

    va_end(args);
    if (n > 0) {
        page->used += (size_t)n < room ? (size_t)n : room - 1;
    }
}

void
page_add_escaped(struct page *page, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            page_add(page, "&lt;");
            break;
        case '>':
            page_add(page, "&gt;");
            break;
        case '&':
            page_add(page, "&amp;");
            break;
        case '"':
            page_add(page, "&quot;");
            break;
        default:
            page_add(page, "%c", *text);
            break;
        }
    }
}

void
page_add_json(struct page *page, const char *text)
{
    enum { PRINTABLE = 0x20 };

    page_add(page, "\"");
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            page_add(page, "\\%c", *text);
        } else if ((unsigned char)*text < PRINTABLE) {
            page_add(page, "\\u%04x", (unsigned char)*text);
        } else {
            page_add(page, "%c", *text);
        }
    }
    page_add(page, "\"");
}
