/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only program in the test guest. It fills memory with what can be computed again from
 * (seed, page index, page version), rewrites random pages at a set rate and checks all of them
 * over and over, so that a migration which loses, mixes or ages one page is noticed. README.md
 * tells its parameters, its console line and its TCP commands.
 *
 * One thread and one poll loop: nothing but the counters below can explain a wrong figure.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	PAGE_BYTES = 4096,
	PAGE_WORDS = PAGE_BYTES / 8,
	MARKER_OFFSET_BYTES = 2048,
	MARKER_MIN_BYTES = 16,
	MARKER_MAX_BYTES = 64,
	CLIENTS_MAX = 16,
	LINE_MAX_BYTES = 512,
	DISK_SLOTS_MAX = 64,
	TICK_MS = 10,
	/* What one turn of the loop may spend, so that TCP is answered whatever the rate. */
	DIRTY_BUDGET_MS = 20,
	CHECK_BUDGET_MS = 5,
	MISMATCHES_TOLD_MAX = 20,
};

/* Pages of memory and blocks of the disk are the same kind of thing in different spaces. */
enum Space { SPACE_MEMORY = 1, SPACE_DISK = 2, SPACE_CHOICE = 3 };

static const int64_t second_ns = 1000000000;
static const int64_t millisecond_ns = 1000000;

struct Rng {
	uint64_t s[4];
};

struct Config {
	uint64_t mem_mib;
	uint64_t rate_pages_per_s;
	uint64_t seed;
	uint64_t port;
	uint64_t disk;
	uint64_t round_s; /* a rolling check of all memory takes about this long; 0: none */
	char marker[MARKER_MAX_BYTES + 1];
};

struct Client {
	int fd; /* -1: free */
	size_t used;
	char line[LINE_MAX_BYTES];
};

struct Disk {
	int fd; /* -1: none */
	uint64_t slot_stride_bytes;
	size_t slots;
	uint64_t version[DISK_SLOTS_MAX]; /* 0: nothing to check there */
	uint64_t *block;
};

struct Walker {
	struct Config config;
	struct Rng choice;
	uint64_t *memory;
	uint32_t *version;
	bool *bad; /* counted; never rewritten, so that the evidence stays */
	size_t pages;
	size_t next_to_check;
	size_t corrupted_page; /* `pages` when there is none; never rewritten either */
	struct Disk disk;
	struct Client client[CLIENTS_MAX];
	int listener;
	int64_t next_line_ns;
	int64_t last_turn_ns;
	double dirty_credit;
	double check_credit;
	uint64_t t, checked, errors, dirtied, rounds, disk_writes, tcp;
};

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "walker fatal: %s: %s\n", what, strerror(errno));
	/* Process 1 may not end: that would be a kernel panic and hide this line. */
	for (;;)
		pause();
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * second_ns + ts.tv_nsec;
}

/* --- contents ----------------------------------------------------------------------------------
 */

static uint64_t rotate_left(uint64_t x, int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

/* SplitMix64, as the authors of xoshiro advise for seeding it. */
static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static struct Rng rng_new(uint64_t seed, enum Space space, uint64_t index, uint64_t version)
{
	struct Rng rng;
	uint64_t state = seed;

	state = splitmix(&state) ^ (uint64_t)space;
	state = splitmix(&state) ^ index;
	state = splitmix(&state) ^ version;
	for (int i = 0; i < 4; i++)
		rng.s[i] = splitmix(&state);
	return rng;
}

/* xoshiro256++ 1.0, Blackman and Vigna. */
static inline uint64_t rng_next(struct Rng *rng)
{
	uint64_t *s = rng->s;
	const uint64_t result = rotate_left(s[0] + s[3], 23) + s[0];
	const uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

static void page_fill(const struct Config *config, enum Space space, uint64_t index,
		      uint64_t version, uint64_t *page)
{
	struct Rng rng = rng_new(config->seed, space, index, version);

	for (int i = 0; i < PAGE_WORDS; i++)
		page[i] = rng_next(&rng);
	memcpy((char *)page + MARKER_OFFSET_BYTES, config->marker, strlen(config->marker));
}

static bool page_is(const struct Config *config, enum Space space, uint64_t index, uint64_t version,
		    const uint64_t *page)
{
	uint64_t expected[PAGE_WORDS];

	page_fill(config, space, index, version, expected);
	return memcmp(expected, page, PAGE_BYTES) == 0;
}

static const char *page_looks_like(const struct Config *config, enum Space space, uint64_t index,
				   uint64_t version, const uint64_t *page)
{
	static const uint64_t zero[PAGE_WORDS];

	if (memcmp(zero, page, PAGE_BYTES) == 0)
		return "zero";
	for (uint64_t age = 1; age <= 4 && age <= version; age++)
		if (page_is(config, space, index, version - age, page))
			return "stale";
	if (page_is(config, space, index, version + 1, page))
		return "newer";
	return "other";
}

/* --- counting ----------------------------------------------------------------------------------
 */

static void status_format(const struct Walker *w, char *line, size_t size_bytes)
{
	snprintf(line, size_bytes,
		 "walker t=%" PRIu64 " checked=%" PRIu64 " errors=%" PRIu64 " dirtied=%" PRIu64
		 " rounds=%" PRIu64 " disk=%" PRIu64 " tcp=%" PRIu64 "\n",
		 w->t, w->checked, w->errors, w->dirtied, w->rounds, w->disk_writes, w->tcp);
}

static void count_mismatch(struct Walker *w, enum Space space, uint64_t index, uint64_t version,
			   const uint64_t *page)
{
	w->errors++;
	if (w->errors <= MISMATCHES_TOLD_MAX)
		printf("walker mismatch %s=%" PRIu64 " version=%" PRIu64 " is=%s\n",
		       space == SPACE_MEMORY ? "page" : "block", index, version,
		       page_looks_like(&w->config, space, index, version, page));
}

/* --- memory ------------------------------------------------------------------------------------
 */

static uint64_t *page_at(const struct Walker *w, size_t index)
{
	return w->memory + index * PAGE_WORDS;
}

static void *memory_map(size_t size_bytes)
{
	void *memory =
		mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("cannot map memory");
	return memory;
}

static void memory_open(struct Walker *w)
{
	w->pages = w->config.mem_mib * (1024 * 1024 / PAGE_BYTES);
	w->corrupted_page = w->pages;
	w->memory = memory_map(w->pages * PAGE_BYTES);
	w->version = memory_map(w->pages * sizeof(*w->version));
	w->bad = memory_map(w->pages * sizeof(*w->bad));
	for (size_t i = 0; i < w->pages; i++) {
		w->version[i] = 1;
		page_fill(&w->config, SPACE_MEMORY, i, 1, page_at(w, i));
	}
}

/* A bad page is counted in w->errors once, however often it is met. */
static bool memory_check_page(struct Walker *w, size_t index)
{
	const uint64_t *page = page_at(w, index);
	bool good = page_is(&w->config, SPACE_MEMORY, index, w->version[index], page);

	w->checked++;
	if (!good && !w->bad[index]) {
		w->bad[index] = true;
		count_mismatch(w, SPACE_MEMORY, index, w->version[index], page);
	}
	return good;
}

static void memory_dirty_some(struct Walker *w, int64_t until_ns)
{
	while (w->dirty_credit >= 1 && now_ns() < until_ns) {
		size_t index = rng_next(&w->choice) % w->pages;

		w->dirty_credit -= 1;
		if (w->bad[index] || index == w->corrupted_page)
			continue;
		w->version[index]++;
		page_fill(&w->config, SPACE_MEMORY, index, w->version[index], page_at(w, index));
		w->dirtied++;
	}
}

static void memory_check_some(struct Walker *w, int64_t until_ns)
{
	while (w->check_credit >= 1 && now_ns() < until_ns) {
		w->check_credit -= 1;
		memory_check_page(w, w->next_to_check);
		if (++w->next_to_check == w->pages) {
			w->next_to_check = 0;
			w->rounds++;
		}
	}
}

static void memory_corrupt(struct Walker *w)
{
	w->corrupted_page = rng_next(&w->choice) % w->pages;
	page_at(w, w->corrupted_page)[rng_next(&w->choice) % PAGE_WORDS] ^=
		1ULL << (rng_next(&w->choice) % 64);
}

/* --- disk --------------------------------------------------------------------------------------
 */

static void disk_open(struct Walker *w)
{
	struct Disk *disk = &w->disk;
	off_t size_bytes;

	disk->fd = -1;
	if (!w->config.disk)
		return;
	disk->fd = open("/dev/vda", O_RDWR | O_DIRECT | O_SYNC | O_CLOEXEC);
	if (disk->fd < 0) {
		printf("walker no disk: %s\n", strerror(errno));
		return;
	}
	size_bytes = lseek(disk->fd, 0, SEEK_END);
	if (size_bytes < PAGE_BYTES)
		die("/dev/vda is too small");
	disk->slots = (size_t)size_bytes / PAGE_BYTES;
	if (disk->slots > DISK_SLOTS_MAX)
		disk->slots = DISK_SLOTS_MAX;
	disk->slot_stride_bytes = (uint64_t)size_bytes / disk->slots / PAGE_BYTES * PAGE_BYTES;
	disk->block = memory_map(PAGE_BYTES);
}

static void disk_check_slot(struct Walker *w, size_t slot)
{
	struct Disk *disk = &w->disk;
	off_t at = (off_t)(slot * disk->slot_stride_bytes);

	memset(disk->block, 0, PAGE_BYTES);
	if (pread(disk->fd, disk->block, PAGE_BYTES, at) == PAGE_BYTES &&
	    page_is(&w->config, SPACE_DISK, slot, disk->version[slot], disk->block))
		return;
	count_mismatch(w, SPACE_DISK, slot, disk->version[slot], disk->block);
	disk->version[slot] = 0;
}

/* What is there is checked before a slot of it is written anew, else that slot escapes the check.
 */
static void disk_turn(struct Walker *w)
{
	struct Disk *disk = &w->disk;
	size_t slot;

	if (disk->fd < 0)
		return;
	for (size_t i = 0; i < disk->slots; i++)
		if (disk->version[i])
			disk_check_slot(w, i);
	slot = w->disk_writes % disk->slots;
	w->disk_writes++;
	disk->version[slot] = w->disk_writes;
	page_fill(&w->config, SPACE_DISK, slot, w->disk_writes, disk->block);
	if (pwrite(disk->fd, disk->block, PAGE_BYTES, (off_t)(slot * disk->slot_stride_bytes)) !=
	    PAGE_BYTES)
		count_mismatch(w, SPACE_DISK, slot, w->disk_writes, disk->block);
}

/* --- the line of every second ------------------------------------------------------------------
 */

static void second_turn(struct Walker *w)
{
	char line[LINE_MAX_BYTES];
	int64_t now = now_ns();

	if (now < w->next_line_ns)
		return;
	w->next_line_ns += second_ns;
	/* After a stop no lines are made up for: t counts prints, not time. */
	if (w->next_line_ns < now)
		w->next_line_ns = now + second_ns;
	disk_turn(w);
	w->t++;
	status_format(w, line, sizeof(line));
	fputs(line, stdout);
}

/* --- TCP ---------------------------------------------------------------------------------------
 */

static void listener_open(struct Walker *w)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons((uint16_t)w->config.port),
				       .sin_addr.s_addr = htonl(INADDR_ANY) };
	const int on = 1;

	for (int i = 0; i < CLIENTS_MAX; i++)
		w->client[i].fd = -1;
	w->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (w->listener < 0)
		die("cannot make a socket");
	setsockopt(w->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(w->listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(w->listener, CLIENTS_MAX))
		die("cannot listen");
}

static void client_close(struct Client *client)
{
	close(client->fd);
	client->fd = -1;
	client->used = 0;
}

/* A client that does not read its answers loses its connection, not the others their time. */
__attribute__((format(printf, 2, 3))) static void client_answer(struct Client *client,
								const char *format, ...)
{
	char line[LINE_MAX_BYTES + 64];
	va_list args;
	int size;

	va_start(args, format);
	size = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (size < 0 || (size_t)size >= sizeof(line) ||
	    send(client->fd, line, (size_t)size, 0) != size)
		client_close(client);
}

static void on_ping(struct Walker *w, struct Client *client, const char *text)
{
	client_answer(client, "pong %" PRIu64 " %" PRIu64 " %s\n", w->t, w->errors, text);
}

static void on_status(struct Walker *w, struct Client *client, const char *text)
{
	char line[LINE_MAX_BYTES];

	(void)text;
	status_format(w, line, sizeof(line));
	client_answer(client, "%s", line);
}

static void on_check(struct Walker *w, struct Client *client, const char *text)
{
	size_t errors = 0;

	(void)text;
	for (size_t i = 0; i < w->pages; i++) {
		errors += !memory_check_page(w, i);
		if (i % 256 == 0)
			second_turn(w);
	}
	client_answer(client, "check ok pages=%zu errors=%zu\n", w->pages, errors);
}

static void on_corrupt(struct Walker *w, struct Client *client, const char *text)
{
	(void)text;
	memory_corrupt(w);
	client_answer(client, "corrupt ok page=%zu\n", w->corrupted_page);
}

static void on_poweroff(struct Walker *w, struct Client *client, const char *text)
{
	(void)w;
	(void)text;
	client_answer(client, "poweroff ok\n");
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
}

static void on_quit(struct Walker *w, struct Client *client, const char *text)
{
	(void)w;
	(void)text;
	client_close(client);
}

static const struct Command {
	const char *name;
	void (*run)(struct Walker *w, struct Client *client, const char *text);
} commands[] = {
	{ "ping", on_ping },	   { "status", on_status },	{ "check", on_check },
	{ "corrupt", on_corrupt }, { "poweroff", on_poweroff }, { "quit", on_quit },
};

static void client_on_line(struct Walker *w, struct Client *client, char *line)
{
	size_t name_bytes = strcspn(line, " \r");
	char *text = line + name_bytes;

	text += *text == ' ';
	text[strcspn(text, "\r")] = '\0';
	w->tcp++;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strlen(commands[i].name) == name_bytes &&
		    memcmp(commands[i].name, line, name_bytes) == 0) {
			commands[i].run(w, client, text);
			return;
		}
	client_answer(client, "error unknown command\n");
}

static void client_on_bytes(struct Walker *w, struct Client *client)
{
	ssize_t size = recv(client->fd, client->line + client->used,
			    sizeof(client->line) - client->used, 0);
	char *end;

	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (size <= 0) {
		client_close(client);
		return;
	}
	client->used += (size_t)size;
	while (client->fd >= 0 && (end = memchr(client->line, '\n', client->used))) {
		size_t line_bytes = (size_t)(end + 1 - client->line);

		*end = '\0';
		client_on_line(w, client, client->line);
		if (client->fd < 0)
			return;
		client->used -= line_bytes;
		memmove(client->line, end + 1, client->used);
	}
	if (client->used == sizeof(client->line))
		client_close(client);
}

static void listener_on_client(struct Walker *w)
{
	int fd = accept4(w->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	const int on = 1;

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (w->client[i].fd < 0) {
			w->client[i].fd = fd;
			return;
		}
	close(fd);
}

static void tcp_turn(struct Walker *w, int timeout_ms)
{
	struct pollfd fds[CLIENTS_MAX + 1];

	/* poll passes over negative descriptors. */
	for (int i = 0; i < CLIENTS_MAX; i++)
		fds[i] = (struct pollfd){ .fd = w->client[i].fd, .events = POLLIN };
	fds[CLIENTS_MAX] = (struct pollfd){ .fd = w->listener, .events = POLLIN };
	if (poll(fds, CLIENTS_MAX + 1, timeout_ms) <= 0)
		return;
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (fds[i].revents)
			client_on_bytes(w, &w->client[i]);
	if (fds[CLIENTS_MAX].revents)
		listener_on_client(w);
}

/* --- parameters --------------------------------------------------------------------------------
 */

static bool number_read(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || end == text || *end || value < min || value > max)
		return false;
	*ret = value;
	return true;
}

static bool config_set(struct Config *config, const char *name, const char *value)
{
	const struct {
		const char *name;
		uint64_t min, max;
		uint64_t *field;
	} numbers[] = {
		{ "mem", 1, 1024 * 1024, &config->mem_mib },
		{ "rate", 0, 100 * 1000 * 1000, &config->rate_pages_per_s },
		{ "seed", 0, UINT64_MAX, &config->seed },
		{ "port", 1, 65535, &config->port },
		{ "disk", 0, 1, &config->disk },
		{ "round", 0, 3600, &config->round_s },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strcmp(name, numbers[i].name) == 0)
			return number_read(value, numbers[i].min, numbers[i].max, numbers[i].field);
	if (strcmp(name, "pattern") == 0) {
		size_t size = strlen(value);

		if (size < MARKER_MIN_BYTES || size > MARKER_MAX_BYTES)
			return false;
		memcpy(config->marker, value, size + 1);
		return true;
	}
	return strcmp(name, "ip") == 0; /* init's */
}

/* A wrong parameter is fatal: a test that runs with a default instead proves something else. */
static void config_read(struct Config *config)
{
	static const char prefix[] = "walker.";
	char cmdline[4096];
	char *save = NULL;
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, cmdline, sizeof(cmdline) - 1);

	if (size < 0)
		die("cannot read /proc/cmdline");
	close(fd);
	cmdline[size] = '\0';
	for (char *word = strtok_r(cmdline, " \n", &save); word;
	     word = strtok_r(NULL, " \n", &save)) {
		char *value = strchr(word, '=');

		if (strncmp(word, prefix, strlen(prefix)) != 0)
			continue;
		errno = EINVAL;
		if (!value)
			die(word);
		*value++ = '\0';
		if (!config_set(config, word + strlen(prefix), value)) {
			errno = EINVAL;
			die(word);
		}
	}
}

static void walker_turn(struct Walker *w)
{
	int64_t now = now_ns();
	double elapsed_s = (double)(now - w->last_turn_ns) / (double)second_ns;
	double rate = (double)w->config.rate_pages_per_s;

	w->last_turn_ns = now;
	/* After a stop at most a second's worth is made up for. */
	w->dirty_credit += elapsed_s * rate;
	if (w->dirty_credit > rate)
		w->dirty_credit = rate;
	if (w->config.round_s)
		w->check_credit += elapsed_s * (double)w->pages / (double)w->config.round_s;
	if (w->check_credit > (double)w->pages)
		w->check_credit = (double)w->pages;
	memory_dirty_some(w, now + DIRTY_BUDGET_MS * millisecond_ns);
	memory_check_some(w, now_ns() + CHECK_BUDGET_MS * millisecond_ns);
	second_turn(w);
	tcp_turn(w, w->dirty_credit >= 1 ? 0 : TICK_MS);
}

int main(void)
{
	static struct Walker walker = {
		.config = { .mem_mib = 64, .rate_pages_per_s = 500, .port = 7777, .round_s = 4 },
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	config_read(&walker.config);
	walker.choice = rng_new(walker.config.seed, SPACE_CHOICE, 0, 0);
	memory_open(&walker);
	disk_open(&walker);
	listener_open(&walker);
	walker.last_turn_ns = walker.next_line_ns = now_ns();
	for (;;)
		walker_turn(&walker);
}
