/*
 * Changes to the container's page. Its writers are the container's monitor and those of its exec sessions,
 * one at a time by a lock of the kernel's on the file, which a dying writer leaves by itself.
 */
#pragma once

#include "proto/page.h"

/* Map the page behind @page_fd; NULL where there is none. */
struct container_page *page_writer_map(int page_fd);

/* The brackets around a change. */
void page_writer_begin(struct container_page *page, int page_fd);
void page_writer_end(struct container_page *page, int page_fd);
