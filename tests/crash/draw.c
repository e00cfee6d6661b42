#include "tests/crash/draw.h"

#include "storage/log/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { EVENTS_SHOWN = 24, LINES_SHOWN = 40, TEXT_MAX = 400, NONCE_OFF = 8, LSN_OFF = 16 };

struct drawing {
    struct draw *draw;
    const struct explore_failure *failure;
};

static const struct media_cell *
cell_of(const struct drawing *d, uint64_t off)
{
    return media_cell_at(d->failure->media, off);
}

static uint64_t
lost_entries(const struct drawing *d, uint64_t off)
{
    for (uint32_t i = 0; i < d->failure->lost_count; i++) {
        if (d->failure->lost[i].off == off) {
            return d->failure->lost[i].entries;
        }
    }
    return 0;
}

/* ---- what was lost ---- */

static void
lost_text(const struct drawing *d, const struct state_lost *lost, char *text, size_t size)
{
    const struct media *media = d->failure->media;
    const struct media_cell *cell = cell_of(d, lost->off);
    uint32_t event_last = UINT32_MAX;
    size_t used = 0;

    used += (size_t)snprintf(text, size, "%s at %" PRIu64 " (block %" PRIu64 " + %" PRIu64 "):",
                             media->cell_bytes == PM_LINE_BYTES ? "line" : "sector", lost->off,
                             lost->off / d->draw->block_bytes, lost->off % d->draw->block_bytes);
    for (uint32_t i = 0; cell != NULL && i < cell->count && used < size; i++) {
        if (!(lost->entries >> i & 1)) {
            continue;
        }
        const struct media_entry *entry = &cell->entries[i];

        if (entry->event != event_last) {
            event_last = entry->event;
            used +=
                (size_t)snprintf(text + used, size - used, " event %" PRIu32 " word", entry->event);
        }
        if (used < size) {
            used += (size_t)snprintf(text + used, size - used, " %u", entry->word);
        }
    }
}

static void
lost_draw(const struct drawing *d)
{
    char text[TEXT_MAX];
    struct page *html = d->draw->html;

    if (html != NULL) {
        page_add(html, "<h3>Not on media: %u %s</h3><ul>", d->failure->lost_count,
                 d->failure->media->cell_bytes == PM_LINE_BYTES ? "lines, wholly or in part"
                                                                : "sectors");
    }
    for (uint32_t i = 0; i < d->failure->lost_count && i < LINES_SHOWN; i++) {
        lost_text(d, &d->failure->lost[i], text, sizeof(text));
        if (d->draw->text != NULL) {
            page_add(d->draw->text, "  lost: %s\n", text);
        }
        if (html != NULL) {
            page_add(html, "<li>");
            page_add_escaped(html, text);
            page_add(html, "</li>");
        }
    }
    if (html != NULL) {
        page_add(html, "</ul>");
    }
}

/* ---- the events before ---- */

static void
event_draw(const struct drawing *d, size_t at)
{
    const struct trace_event *event = &d->failure->trace->events[at];
    char text[TEXT_MAX];
    char site[TEXT_MAX] = "";

    trace_event_text(d->failure->trace, at, text, sizeof(text));
    if (!event->is_mark && event->site != 0) {
        plant_site_text(event->site, site, sizeof(site));
    }
    if (d->draw->text != NULL) {
        page_add(d->draw->text, "  %5zu  thread %u  %-44s %s\n", at, event->thread, text, site);
    }
    if (d->draw->html != NULL) {
        page_add(d->draw->html, "<tr class=%s><td>%zu<td>%u<td>", event->is_mark ? "mark" : "ev",
                 at, event->thread);
        page_add_escaped(d->draw->html, text);
        page_add(d->draw->html, "<td>");
        page_add_escaped(d->draw->html, site);
        page_add(d->draw->html, "</tr>\n");
    }
}

static void
events_draw(const struct drawing *d)
{
    const size_t end = d->failure->media->at;
    const size_t from = end > EVENTS_SHOWN ? end - EVENTS_SHOWN : 0;

    if (d->draw->html != NULL) {
        page_add(d->draw->html, "<h3>The last events before the crash</h3>"
                                "<table><tr><th>event<th>thread<th>what<th>from</tr>\n");
    }
    for (size_t at = from; at < end; at++) {
        event_draw(d, at);
    }
    if (d->draw->text != NULL) {
        page_add(d->draw->text, "         *** power cut ***\n");
    }
    if (d->draw->html != NULL) {
        page_add(d->draw->html, "<tr class=cut><td colspan=4>power cut</tr></table>\n");
    }
}

/* ---- blocks, lines, frames ---- */

static const char *
line_class(const struct drawing *d, uint64_t off)
{
    static const uint8_t zeros[PM_LINE_BYTES];
    const uint64_t cell_bytes = d->failure->media->cell_bytes;
    const struct media_cell *cell = cell_of(d, off);
    const uint64_t lost = lost_entries(d, off - off % cell_bytes);

    if (cell != NULL && lost != 0) {
        const uint64_t all = UINT64_MAX >> (MEDIA_ENTRIES_MAX - cell->count);

        return lost == all ? "l" : "p";
    }
    if (cell != NULL) {
        return "k";
    }
    return memcmp(d->failure->bytes + off, zeros, sizeof(zeros)) == 0 ? "z" : "d";
}

static uint64_t
word_at(const uint8_t *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof(word));
    return word;
}

static void
frame_name(const struct log_record *record, char *text, size_t size)
{
    static const char *const kinds[] = {"?", "put", "delete", "range-delete", "put-blob", "batch"};

    (void)snprintf(text, size, "%s %.*s, %zu bytes of value",
                   record->kind <= LOG_KIND_BATCH ? kinds[record->kind] : "?",
                   (int)(record->key.len < 24 ? record->key.len : 24),
                   record->key.ptr != NULL ? (const char *)record->key.ptr : "", record->value.len);
}

/* Frames of a segment, up to where none validates. */
static void
frames_draw(const struct drawing *d, uint64_t off, uint64_t end)
{
    const uint8_t *bytes = d->failure->bytes;
    const uint64_t nonce = word_at(bytes + off + NONCE_OFF);
    const uint64_t lsn = word_at(bytes + off + LSN_OFF);
    uint64_t at = off + LOG_HEADER_BYTES;

    page_add(d->draw->html, "<div class=frames>seal %016" PRIx64 ", link %016" PRIx64,
             word_at(bytes + off + LOG_SEAL_OFF), word_at(bytes + off + LOG_LINK_OFF));
    while (at + LOG_BATCH_BYTES < end && !log_end_decode(bytes + at)) {
        const struct log_seed seed = {nonce, lsn + (at - off)};
        struct log_record record;
        struct log_batch batch = {0, 0};
        char text[TEXT_MAX];
        const size_t len = log_frame_decode(bytes + at, (size_t)(end - at), seed, &batch);

        if (len == 0) {
            page_add(d->draw->html, "<br><b class=torn>+%" PRIu64 ": no valid frame: torn</b>",
                     at - off);
            break;
        }
        if (batch.count > 0) {
            (void)snprintf(text, sizeof(text), "batch of %u records, %u bytes", batch.count,
                           batch.payload_bytes);
        } else if (log_record_decode(bytes + at, (size_t)(end - at), seed, true, &record)) {
            frame_name(&record, text, sizeof(text));
        } else {
            text[0] = '\0';
        }
        page_add(d->draw->html, "<br>+%" PRIu64 " LSN %" PRIu64 ": ", at - off, lsn + (at - off));
        page_add_escaped(d->draw->html, text);
        at += (len + LOG_LINE_BYTES - 1) / LOG_LINE_BYTES * LOG_LINE_BYTES;
    }
    page_add(d->draw->html, "</div>");
}

static const char *
block_name(const struct drawing *d, uint64_t block, uint64_t off)
{
    const uint8_t *bytes = d->failure->bytes + off;

    if (block == 0) {
        return "superblocks, clock, roots";
    }
    if (block == 1) {
        return "segment table";
    }
    if (memcmp(bytes, "FLSG", 4) == 0) {
        return "log segment";
    }
    return memcmp(bytes, "FLBL", 4) == 0 ? "big value" : "";
}

static void
block_draw(const struct drawing *d, uint64_t block)
{
    enum { LINES_MAX = 512 };
    const uint64_t off = block * d->draw->block_bytes;
    const uint64_t end = off + d->draw->block_bytes;
    struct page *html = d->draw->html;
    const char *name = block_name(d, block, off);

    if (!d->failure->exists[off / IMAGE_PAGE]) {
        page_add(html, "<div class=block><b>block %" PRIu64 "</b> is a hole</div>\n", block);
        return;
    }
    page_add(html, "<div class=block><b>block %" PRIu64 "</b> at %" PRIu64 " %s<div class=lines>",
             block, off, name);
    for (uint64_t line = off; line < end && line < off + LINES_MAX * PM_LINE_BYTES;
         line += PM_LINE_BYTES) {
        page_add(html, "<i class=%s title=\"%" PRIu64 "\"></i>", line_class(d, line), line);
    }
    page_add(html, "</div>");
    if (strcmp(name, "log segment") == 0) {
        frames_draw(d, off, end);
    }
    page_add(html, "</div>\n");
}

static void
blocks_draw(const struct drawing *d)
{
    page_add(d->draw->html,
             "<h3>The file that recovery was given</h3><p class=legend><i class=z></i> zeros "
             "<i class=d></i> durable <i class=k></i> in flight, on media "
             "<i class=p></i> in flight, partly on media <i class=l></i> in flight, lost</p>\n");
    for (uint64_t block = 0; block < d->failure->size_bytes / d->draw->block_bytes; block++) {
        block_draw(d, block);
    }
}

void
draw_failure(void *context, const struct explore_failure *failure)
{
    struct draw *draw = context;
    const struct drawing d = {draw, failure};

    draw->lost_fits = failure->lost_count <= EXPLORE_LOST_MAX;
    draw->lost_count = draw->lost_fits ? failure->lost_count : 0;
    memcpy(draw->lost, failure->lost, draw->lost_count * sizeof(draw->lost[0]));
    if (draw->text == NULL && draw->html == NULL) {
        return;
    }
    lost_draw(&d);
    events_draw(&d);
    if (draw->html != NULL && failure->bytes != NULL) {
        blocks_draw(&d);
    }
}
