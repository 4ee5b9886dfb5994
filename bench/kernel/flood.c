/*
 * The publisher of the benches: a Jupyter kernel without a language that sends
 * floods of messages.
 *
 *     cc -O2 -pthread flood.c -o flood && ./flood CONNECTION_FILE
 *
 * It implements ZMTP 3.0 (NULL) itself, over TCP and Unix sockets, and needs no
 * library. It composes and signs all messages of a flood before it sends the first
 * byte. It sends with blocking writes: a subscriber that does not read stops it, as
 * XPUB_NODROP does, and no message is dropped.
 *
 * execute_request, by its code:
 *     flood N SIZE stream    N streams of about SIZE bytes, with their signature and headers
 *     flood N SIZE display   N pictures of that size
 *     flood N SIZE updated   N displays of that size, each with a display_id
 *     flood N SIZE buffer    N messages of 1 kB, each with one buffer of SIZE bytes
 *     anything else          the result 2
 * It counts comm_msg without an answer; comm_info_reply has their number, in 20 kB, so that a reader finds it easily.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum { SHELL, CONTROL, STDIN, IOPUB, SOCKETS };
enum { PEERS = 64, FRAMES = 64, GREETING = 64, BATCH = 32 * 1024, SIGNED = 20000 };
enum { SIGNED_BYTES = 64 * 1000 * 1000, COUNTED = 20000 };

typedef struct { const char *at; size_t size; } Bytes;
typedef struct { int fd, socket, greeted, subscribed; char *in; size_t used, room; } Peer;

static char connection[65536], key[256];
static Peer peers[PEERS];
static int peer_count;
static long message_count, comms;

static Bytes text(const char *s) { return (Bytes){ s, strlen(s) }; }

/* ---- SHA-256 and HMAC ---- */

typedef struct { uint32_t h[8]; uint64_t size; unsigned char block[64]; } Sha;

static const uint32_t K[64] = {
  0x428a2f98,0x71374491,0xb5c0fbcf,0xe9b5dba5,0x3956c25b,0x59f111f1,0x923f82a4,0xab1c5ed5,0xd807aa98,0x12835b01,0x243185be,0x550c7dc3,0x72be5d74,0x80deb1fe,0x9bdc06a7,0xc19bf174,
  0xe49b69c1,0xefbe4786,0x0fc19dc6,0x240ca1cc,0x2de92c6f,0x4a7484aa,0x5cb0a9dc,0x76f988da,0x983e5152,0xa831c66d,0xb00327c8,0xbf597fc7,0xc6e00bf3,0xd5a79147,0x06ca6351,0x14292967,
  0x27b70a85,0x2e1b2138,0x4d2c6dfc,0x53380d13,0x650a7354,0x766a0abb,0x81c2c92e,0x92722c85,0xa2bfe8a1,0xa81a664b,0xc24b8b70,0xc76c51a3,0xd192e819,0xd6990624,0xf40e3585,0x106aa070,
  0x19a4c116,0x1e376c08,0x2748774c,0x34b0bcb5,0x391c0cb3,0x4ed8aa4a,0x5b9cca4f,0x682e6ff3,0x748f82ee,0x78a5636f,0x84c87814,0x8cc70208,0x90befffa,0xa4506ceb,0xbef9a3f7,0xc67178f2 };

static uint32_t rotated(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha_block(Sha *s, const unsigned char *p) {
  uint32_t w[64], v[8];
  for (int i = 0; i < 16; i++) w[i] = (uint32_t)p[4*i] << 24 | p[4*i+1] << 16 | p[4*i+2] << 8 | p[4*i+3];
  for (int i = 16; i < 64; i++) w[i] = w[i-16] + (rotated(w[i-15],7) ^ rotated(w[i-15],18) ^ w[i-15]>>3) + w[i-7] + (rotated(w[i-2],17) ^ rotated(w[i-2],19) ^ w[i-2]>>10);
  memcpy(v, s->h, sizeof v);
  for (int i = 0; i < 64; i++) {
    uint32_t a = v[7] + (rotated(v[4],6) ^ rotated(v[4],11) ^ rotated(v[4],25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + K[i] + w[i];
    uint32_t b = (rotated(v[0],2) ^ rotated(v[0],13) ^ rotated(v[0],22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    memmove(v + 1, v, 7 * sizeof *v);
    v[4] += a; v[0] = a + b;
  }
  for (int i = 0; i < 8; i++) s->h[i] += v[i];
}

static void sha_begin(Sha *s) {
  static const uint32_t h[8] = { 0x6a09e667,0xbb67ae85,0x3c6ef372,0xa54ff53a,0x510e527f,0x9b05688c,0x1f83d9ab,0x5be0cd19 };
  memcpy(s->h, h, sizeof h);
  s->size = 0;
}

static void sha_add(Sha *s, const void *data, size_t n) {
  const unsigned char *p = data;
  size_t held = s->size % 64;
  s->size += n;
  if (held + n < 64) { memcpy(s->block + held, p, n); return; }
  if (held) { memcpy(s->block + held, p, 64 - held); sha_block(s, s->block); p += 64 - held; n -= 64 - held; }
  for (; n >= 64; p += 64, n -= 64) sha_block(s, p);
  memcpy(s->block, p, n);
}

static void sha_end(Sha *s, unsigned char out[32]) {
  uint64_t bits = s->size * 8;
  unsigned char pad[72] = { 0x80 };
  size_t n = (119 - s->size % 64) % 64 + 1;
  for (int i = 0; i < 8; i++) pad[n + i] = bits >> (56 - 8 * i);
  sha_add(s, pad, n + 8);
  for (int i = 0; i < 32; i++) out[i] = s->h[i/4] >> (24 - 8 * (i%4));
}

static void sign(const Bytes four[4], char hex[65]) {
  static Sha inner, outer;
  static int is_keyed;
  hex[0] = 0;
  if (!key[0]) return;
  if (!is_keyed) {
    unsigned char i[64] = {0}, o[64];
    memcpy(i, key, strlen(key)); /* the keys of connection files are shorter than a block */
    for (int n = 0; n < 64; n++) { o[n] = i[n] ^ 0x5c; i[n] ^= 0x36; }
    sha_begin(&inner); sha_add(&inner, i, 64);
    sha_begin(&outer); sha_add(&outer, o, 64);
    is_keyed = 1;
  }
  unsigned char sum[32];
  Sha in = inner, out = outer;
  for (int n = 0; n < 4; n++) sha_add(&in, four[n].at, four[n].size);
  sha_end(&in, sum);
  sha_add(&out, sum, 32);
  sha_end(&out, sum);
  for (int n = 0; n < 32; n++) sprintf(hex + 2*n, "%02x", sum[n]);
}

/* ---- ZMTP ---- */

static void close_peer(Peer *p) {
  close(p->fd);
  free(p->in);
  *p = peers[--peer_count];
}

static int send_all(int fd, struct iovec *v, int n) {
  while (n > 0) {
    ssize_t sent = writev(fd, v, n);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return -1;
    for (; n > 0 && (size_t)sent >= v->iov_len; v++, n--) sent -= v->iov_len;
    if (n > 0) { v->iov_base = (char *)v->iov_base + sent; v->iov_len -= sent; }
  }
  return 0;
}

/* The bytes that wait for all subscribers; small frames are sent together. */
static char batch[BATCH + 1024];
static size_t batched;

static void flush_with(Bytes more) {
  for (int i = 0; i < peer_count; i++) {
    if (peers[i].socket != IOPUB || !peers[i].subscribed) continue;
    struct iovec v[2] = { { batch, batched }, { (void *)more.at, more.size } };
    if (send_all(peers[i].fd, v, 2)) peers[i].subscribed = 0;
  }
  batched = 0;
}

static size_t frame_header(char *to, size_t size, int has_more) {
  if (size < 256) { to[0] = has_more; to[1] = (char)size; return 2; }
  to[0] = 2 | has_more;
  for (int i = 0; i < 8; i++) to[1 + i] = (char)((uint64_t)size >> (56 - 8*i));
  return 9;
}

static void publish(const Bytes *frames, int n) {
  for (int i = 0; i < n; i++) {
    if (batched + 9 + (frames[i].size < BATCH ? frames[i].size : 0) > sizeof batch) flush_with((Bytes){0});
    batched += frame_header(batch + batched, frames[i].size, i + 1 < n);
    if (batched + frames[i].size > BATCH) { flush_with(frames[i]); continue; }
    memcpy(batch + batched, frames[i].at, frames[i].size);
    batched += frames[i].size;
  }
}

static void reply(int fd, const Bytes *frames, int n) {
  for (int i = 0; i < n; i++) {
    char head[9];
    struct iovec v[2] = { { head, frame_header(head, frames[i].size, i + 1 < n) }, { (void *)frames[i].at, frames[i].size } };
    if (send_all(fd, v, 2)) return;
  }
}

static void greet(int fd, const char *type) {
  char out[GREETING + 64] = { (char)0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L' };
  char *p = out + GREETING, *body = p + 2;
  p[0] = 4;
  memcpy(body, "\5READY\13Socket-Type\0\0\0", 21);
  body[21] = (char)strlen(type);
  strcpy(body + 22, type);
  p[1] = (char)(22 + strlen(type));
  struct iovec v = { out, GREETING + 2 + (unsigned char)p[1] };
  send_all(fd, &v, 1);
}

/* Finds the frames of one complete message. Returns its size in bytes, or 0 if it is not complete. */
static size_t message(const char *in, size_t n, Bytes frames[FRAMES], int *count, int *is_command) {
  size_t at = 0;
  for (*count = 0; *count < FRAMES;) {
    if (n - at < 2) return 0;
    int flags = in[at];
    size_t head = flags & 2 ? 9 : 2, size = 0;
    if (n - at < head) return 0;
    for (size_t i = 1; i < head; i++) size = size << 8 | (unsigned char)in[at + i];
    if (n - at - head < size) return 0;
    frames[(*count)++] = (Bytes){ in + at + head, size };
    at += head + size;
    *is_command = flags & 4;
    if (!(flags & 1)) return at;
  }
  exit(4);
}

static int listen_to(const char *transport, const char *ip, int port) {
  int fd;
  if (!strcmp(transport, "ipc")) {
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    if (snprintf(a.sun_path, sizeof a.sun_path, "%s-%d", ip, port) >= (int)sizeof a.sun_path) exit(3);
    unlink(a.sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(fd, (void *)&a, sizeof a)) { perror(a.sun_path); exit(3); }
  } else {
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
    int one = 1;
    inet_pton(AF_INET, ip, &a.sin_addr);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* accepted sockets inherit it */
    if (bind(fd, (void *)&a, sizeof a)) { perror("bind"); exit(3); }
  }
  listen(fd, 16);
  return fd;
}

/* ---- Jupyter ---- */

static void header(char out[400], const char *type) {
  sprintf(out, "{\"msg_id\": \"7d3b2c5e-90f1a2b3c4d5e6f708192a3b_%d_%ld\", \"msg_type\": \"%s\", \"username\": \"bench\", \"session\": \"7d3b2c5e-90f1a2b3c4d5e6f708192a3b\", \"date\": \"2026-11-28T20:00:00.000000Z\", \"version\": \"5.4\"}", getpid(), ++message_count, type);
}

static void publish_json(const char *type, Bytes parent, const char *content) {
  char h[400], topic[64], hex[65];
  header(h, type);
  sprintf(topic, "kernel.bench.%s", type);
  Bytes four[4] = { text(h), parent, text("{}"), text(content) };
  sign(four, hex);
  Bytes all[7] = { text(topic), text("<IDS|MSG>"), text(hex), four[0], four[1], four[2], four[3] };
  publish(all, 7);
  flush_with((Bytes){0});
}

static void answer(int fd, const Bytes *ids, int n, const char *type, Bytes parent, const char *content) {
  char h[400], hex[65];
  header(h, type);
  Bytes four[4] = { text(h), parent, text("{}"), text(content) }, all[FRAMES];
  sign(four, hex);
  memcpy(all, ids, n * sizeof *ids);
  Bytes rest[6] = { text("<IDS|MSG>"), text(hex), four[0], four[1], four[2], four[3] };
  memcpy(all + n, rest, sizeof rest);
  reply(fd, all, n + 6);
}

static void flood(long n, long size, const char *kind, Bytes parent) {
  int is_stream = !strcmp(kind, "stream"), is_updated = !strcmp(kind, "updated"), has_buffer = !strcmp(kind, "buffer");
  const char *type = is_stream ? "stream" : "display_data", *topic = is_stream ? "kernel.bench.stream" : "kernel.bench.display_data";
  static const char sentence[] = "the quick brown fox jumps over the lazy dog 0123456789, and so on. ";
  static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  long body = has_buffer ? 1000 : size, overhead = (is_stream ? 330 : 390) + (long)parent.size, filled = body > overhead ? body - overhead : 0;
  char *filling = malloc(filled + 1), *content = malloc(filled + 256), *buffer = has_buffer ? malloc(size) : NULL;
  for (long i = 0; i < filled; i++) filling[i] = is_stream ? sentence[i % 67] : base64[(i * 7 + i / 97) % 64];
  if (is_stream) for (long i = 78; i + 1 < filled; i += 80) { filling[i] = '\\'; filling[i + 1] = 'n'; }
  filling[filled] = 0;
  for (long i = 0; i < size && has_buffer; i++) buffer[i] = (char)(i * 2654435761u >> 13);
  long many = SIGNED_BYTES / (body + 1); /* the number of messages that are signed before, and sent repeatedly */
  if (many > SIGNED) many = SIGNED;
  if (many < 16) many = 16;
  if (many > n) many = n;
  char (*headers)[400] = malloc(many * sizeof *headers), (*signatures)[65] = malloc(many * sizeof *signatures);
  if (is_stream) sprintf(content, "{\"name\": \"stdout\", \"text\": \"%s\"}", filling);
  else sprintf(content, "{\"data\": {\"text/plain\": \"<Figure>\", \"image/png\": \"%s\"}, \"metadata\": {}, \"transient\": {}}", filling);
  Bytes said_content = text(content);
  for (long i = 0; i < many; i++) {
    header(headers[i], type);
    Bytes four[4] = { text(headers[i]), parent, text("{}"), said_content };
    sign(four, signatures[i]);
  }
  for (long i = 0; i < n; i++) {
    long k = i % many;
    if (is_updated) { /* each message differs, so each is signed when it is sent */
      sprintf(content, "{\"data\": {\"text/plain\": \"%s\"}, \"metadata\": {}, \"transient\": {\"display_id\": \"d%ld\"}}", filling, i);
      said_content = text(content);
      Bytes four[4] = { text(headers[k]), parent, text("{}"), said_content };
      sign(four, signatures[k]);
    }
    Bytes all[8] = { text(topic), text("<IDS|MSG>"), text(signatures[k]), text(headers[k]), parent, text("{}"), said_content, { buffer, size } };
    publish(all, has_buffer ? 8 : 7);
  }
  flush_with((Bytes){0});
  free(filling); free(content); free(buffer); free(headers); free(signatures);
}

/* Returns 1 if it was the last request. */
static int handle(int fd, const Bytes *frames, int n) {
  int d = 0;
  while (d < n && !(frames[d].size == 9 && !memcmp(frames[d].at, "<IDS|MSG>", 9))) d++;
  if (d + 5 >= n) return 0;
  char *h = strndup(frames[d + 2].at, frames[d + 2].size), *code = strndup(frames[d + 5].at, frames[d + 5].size > 4096 ? 4096 : frames[d + 5].size);
  Bytes parent = { h, frames[d + 2].size };
  char type[64] = "", kind[16] = "stream", out[128];
  long many, size;
  const char *word = strstr(h, "\"msg_type\""), *floods = strstr(code, "flood ");
  if (word) sscanf(word, "\"msg_type\" : \"%60[a-z_]", type);
  int is_last = !strcmp(type, "shutdown_request");
  if (!strcmp(type, "comm_msg")) { comms++; free(h); free(code); return 0; }
  publish_json("status", parent, "{\"execution_state\": \"busy\"}");
  if (!strcmp(type, "execute_request")) {
    publish_json("execute_input", parent, "{\"code\": \"x\", \"execution_count\": 1}");
    if (floods && sscanf(floods, "flood %ld %ld %15[a-z]", &many, &size, kind) >= 2) flood(many, size, kind, parent);
    else publish_json("execute_result", parent, "{\"data\": {\"text/plain\": \"2\"}, \"metadata\": {}, \"execution_count\": 1}");
    answer(fd, frames, d, "execute_reply", parent, "{\"status\": \"ok\", \"execution_count\": 1, \"user_expressions\": {}, \"payload\": []}");
  } else if (!strcmp(type, "kernel_info_request")) {
    answer(fd, frames, d, "kernel_info_reply", parent, "{\"status\": \"ok\", \"protocol_version\": \"5.4\", \"implementation\": \"flood\", \"implementation_version\": \"1\", \"banner\": \"flood\", \"help_links\": [], \"language_info\": {\"name\": \"c\", \"version\": \"1\", \"mimetype\": \"text/plain\", \"file_extension\": \".c\"}}");
  } else if (!strcmp(type, "comm_info_request")) {
    char large[COUNTED + 128];
    sprintf(large, "{\"status\": \"ok\", \"comms\": {}, \"count\": %ld, \"padding\": \"%*s\"}", comms, COUNTED, "");
    comms = 0;
    answer(fd, frames, d, "comm_info_reply", parent, large);
  } else if ((word = strstr(type, "_request"))) {
    sprintf(out, "%.*s_reply", (int)(word - type), type);
    answer(fd, frames, d, out, parent, "{\"status\": \"ok\", \"restart\": false}");
  }
  publish_json("status", parent, "{\"execution_state\": \"idle\"}");
  free(h); free(code);
  return is_last;
}

/* Reads the available bytes. Returns 1 if the kernel must end. */
static int hear(Peer *p) {
  if (p->room - p->used < 65536) p->in = realloc(p->in, p->room = p->room * 2 + 131072);
  ssize_t n = read(p->fd, p->in + p->used, p->room - p->used);
  if (n <= 0) { close_peer(p); return 0; }
  p->used += n;
  size_t at = 0, took;
  if (!p->greeted) {
    if (p->used < GREETING) return 0;
    p->greeted = 1;
    at = GREETING;
  }
  Bytes frames[FRAMES];
  int count, is_command, is_last = 0;
  while (!is_last && (took = message(p->in + at, p->used - at, frames, &count, &is_command))) {
    at += took;
    if (p->socket == IOPUB) { if (!is_command ? frames[0].size && frames[0].at[0] == 1 : frames[0].at[0] == 9) p->subscribed = 1; }
    else if (!is_command) is_last = handle(p->fd, frames, count);
  }
  memmove(p->in, p->in + at, p->used -= at);
  return is_last;
}

/* The heartbeat: one connection at a time is enough. It echoes what it receives. */
static void *beat(void *listener) {
  for (;;) {
    int fd = accept(*(int *)listener, NULL, NULL);
    char bytes[4096];
    size_t greeting = GREETING, ready = 0;
    ssize_t n;
    greet(fd, "REP");
    while ((n = read(fd, bytes, greeting ? greeting : ready == 0 ? 2 : ready < 3 ? ready : sizeof bytes)) > 0) {
      if (greeting) { greeting -= n; continue; }
      if (ready == 0) { /* READY: a command, whose bytes are not echoed */
        if (n < 2) break;
        size_t left = (unsigned char)bytes[1];
        while (left > 0 && (n = read(fd, bytes, left)) > 0) left -= n;
        ready = 3;
        continue;
      }
      struct iovec v = { bytes, n };
      if (send_all(fd, &v, 1)) break;
    }
    close(fd);
  }
  return NULL;
}

static char *find(const char *name) {
  char quoted[64];
  snprintf(quoted, sizeof quoted, "\"%s\"", name);
  char *p = strstr(connection, quoted);
  if (!p) { fprintf(stderr, "no %s in the connection file\n", name); exit(2); }
  return strchr(p + strlen(quoted), ':') + 1;
}

static void word_of(const char *name, char *out, size_t room) {
  char *from = strchr(find(name), '"') + 1, *to = strchr(from, '"');
  snprintf(out, room, "%.*s", (int)(to - from), from);
}

int main(int argc, char **argv) {
  FILE *file = argc > 1 ? fopen(argv[argc - 1], "r") : NULL;
  if (!file || !fread(connection, 1, sizeof connection - 1, file)) { fprintf(stderr, "flood CONNECTION_FILE\n"); return 2; }
  fclose(file);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  char transport[16], ip[512];
  word_of("transport", transport, sizeof transport);
  word_of("ip", ip, sizeof ip);
  word_of("key", key, sizeof key);
  if (strlen(key) > 64) return 2;
  static const char *ports[SOCKETS] = { "shell_port", "control_port", "stdin_port", "iopub_port" };
  struct pollfd polled[SOCKETS + PEERS];
  for (int i = 0; i < SOCKETS; i++) polled[i] = (struct pollfd){ listen_to(transport, ip, atoi(find(ports[i]))), POLLIN, 0 };
  int heart = listen_to(transport, ip, atoi(find("hb_port")));
  pthread_t thread;
  pthread_create(&thread, NULL, beat, &heart);
  pid_t parent = getppid();
  for (;;) {
    for (int i = 0; i < peer_count; i++) polled[SOCKETS + i] = (struct pollfd){ peers[i].fd, POLLIN, 0 };
    int polled_count = peer_count;
    poll(polled, SOCKETS + polled_count, 5000);
    if (getppid() != parent) return 0;
    for (int i = polled_count - 1; i >= 0; i--) /* downwards, because a closed connection is replaced by the last one */
      if (polled[SOCKETS + i].revents && hear(&peers[i])) { usleep(50000); _exit(0); }
    for (int i = 0; i < SOCKETS; i++) {
      if (!polled[i].revents || peer_count == PEERS) continue;
      Peer *p = &peers[peer_count++];
      *p = (Peer){ .fd = accept(polled[i].fd, NULL, NULL), .socket = i };
      greet(p->fd, i == IOPUB ? "XPUB" : "ROUTER");
    }
  }
}
