/* The 1 x 1 dynamic convolution y_b = (sum_k a_bk W_k) x_b, and its gradients, without ever writing a mixed kernel to
   memory: a tile of the K kernels that fits the first-level cache is mixed for one sample after the other, and each
   mixture is multiplied while it is hot.

   x [B, C, P], W [K, O, C], a [B, K], y [B, O, P], contiguous; P pixels, fewer than 2^31 of anything. Gradients, from
   g = dL/dy:   dx_b = (sum_k a_bk W_k)^T g_b,   dW_k = sum_b a_bk g_b x_b^T,   da_bk = <W_k, g_b x_b^T>.
   They take g, x and dx with the channels last as well, [B, P, C]; y is then what backward_input makes of x and the
   transposed W.

   Compiled once with REAL = float and once with double. Each number is summed by one thread in one order: results do
   not depend on how many threads there are. Every function returns 0, or 1 where there was no memory. */

#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#else
#define omp_get_max_threads() 1
#endif

/* A tile of accumulators, ROWS x 2 vectors, has to fit the registers: 32 of them, or 16 before AVX-512. */
#if defined(__AVX512F__)
#define BYTES 64
#define ROWS 12
#elif defined(__AVX__)
#define BYTES 32
#define ROWS 6
#else
#define BYTES 16
#define ROWS 6
#endif
#define LANES ((long)(BYTES / sizeof(REAL)))
#define PANEL (2 * LANES) /* columns that a tile of accumulators covers */
#define GROUP (2 * ROWS)  /* rows mixed at a time */
#define DEPTH 64          /* terms of a sum mixed at a time: K * GROUP * DEPTH numbers stay in the first cache */
#define LONG 256          /* the same for tiles of DOTS rows */
#define DOTS 4            /* rows and pixels of a tile of dot products, where pixels are fewer than lanes */
#define ITEM (8 * PANEL)  /* pixels of an item: what one mixture is used for at a time */
#define COPIED (1L << 20)  /* numbers of the input that are copied at a time */
#define KEPT 32           /* items whose accumulators a task keeps while it goes through the kernels */

typedef REAL vec __attribute__((vector_size(BYTES)));
typedef REAL anywhere __attribute__((vector_size(BYTES), aligned(sizeof(REAL))));
typedef vec pair[2];

static inline vec load(const REAL *from) { return (vec)(*(const anywhere *)from); }
static inline void store(REAL *to, vec value) { *(anywhere *)to = (anywhere)value; }
static inline long least(long a, long b) { return a < b ? a : b; }
static inline long most(long a, long b) { return a > b ? a : b; }
static inline long parts(long all, long each) { return (all + each - 1) / each; }

static inline REAL total(vec value)
{
    REAL sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += value[lane];
    return sum;
}

static REAL *buffer(long reals)
{
    void *memory = NULL;
    return posix_memalign(&memory, 64, (size_t)most(reals, 1) * sizeof(REAL)) ? NULL : memory;
}

/* Into how many tasks the items of one tile of kernels are cut: few enough to a task to keep their accumulators, and
   tasks enough for all threads. */
static long cuts(long tiles, long items)
{
    return most(parts(items, KEPT), least(items, parts(4 * omp_get_max_threads(), tiles)));
}

/* sums[r][v] += sum_d left[r * row + d * term] * panel[d][v], for R rows and V vectors. */
static inline __attribute__((always_inline)) void multiply(
    int R, int V, pair *sums, const REAL *left, long row, long term, const REAL *panel, long terms)
{
    pair sum[ROWS];
    for (int r = 0; r < R; r++) for (int v = 0; v < V; v++) sum[r][v] = sums[r][v];
    for (long d = 0; d < terms; d++)
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) sum[r][v] += left[r * row + d * term] * load(panel + d * PANEL + v * LANES);
    for (int r = 0; r < R; r++) for (int v = 0; v < V; v++) sums[r][v] = sum[r][v];
}

/* A block of every kernel, laid side by side as [K, rows, stride]: rows C numbers apart would share few cache sets. */
static void gather(REAL *to, long stride, const REAL *W, long K, long O, long C, long rows, long columns)
{
    for (long k = 0; k < K; k++)
        for (long r = 0; r < rows; r++)
            memcpy(to + (k * rows + r) * stride, W + (k * O + r) * C, columns * sizeof(REAL));
}

/* to[r][j] = sum_k a[k] from[k][r][j]; the kernels are `kernel` apart and rows `stride`. */
static inline __attribute__((always_inline)) void mix_some(
    REAL *to, long to_stride, const REAL *from, long kernel, long stride, const REAL *a, long K, long rows, long columns)
{
    for (long r = 0; r < rows; r++, from += stride, to += to_stride) {
        for (long j = 0; j + LANES <= columns; j += LANES) {
            vec sum = a[0] * load(from + j);
            for (long k = 1; k < K; k++) sum += a[k] * load(from + k * kernel + j);
            store(to + j, sum);
        }
        for (long j = columns / LANES * LANES; j < columns; j++) {
            REAL sum = a[0] * from[j];
            for (long k = 1; k < K; k++) sum += a[k] * from[k * kernel + j];
            to[j] = sum;
        }
    }
}

/* With K known to the compiler the weights stay in registers. Four is what everybody uses. */
static void mix(REAL *to, long to_stride, const REAL *from, long kernel, long stride, const REAL *a, long K, long rows,
                long columns)
{
    if (K == 4) {
        REAL four[4] = {a[0], a[1], a[2], a[3]};
        mix_some(to, to_stride, from, kernel, stride, four, 4, rows, columns);
    } else
        mix_some(to, to_stride, from, kernel, stride, a, K, rows, columns);
}

/* Pixels in the lanes. */
static int forward_wide(long B, long K, long O, long C, long P, const REAL *x, const REAL *W, const REAL *a, REAL *y)
{
    long panels = parts(P, PANEL), groups = parts(O, GROUP), slices = parts(P, ITEM), items = B * slices;
    long shares = cuts(groups, items), failed = 0;
    REAL *xp = buffer(B * panels * C * PANEL); /* x as [B, panels, C, PANEL]; past P there are zeros */
    if (!xp) return 1;
#pragma omp parallel
    {
        REAL *w = buffer(K * GROUP * DEPTH), *m = buffer(GROUP * DEPTH), *kept = buffer(KEPT * GROUP * ITEM);
        if (!w || !m || !kept) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for collapse(2)
        for (long b = 0; b < B; b++)
            for (long i = 0; i < panels; i++) {
                long here = least(PANEL, P - i * PANEL);
                REAL *to = xp + (b * panels + i) * C * PANEL;
                for (long c = 0; c < C; c++, to += PANEL) {
                    memcpy(to, x + (b * C + c) * P + i * PANEL, here * sizeof(REAL));
                    memset(to + here, 0, (PANEL - here) * sizeof(REAL));
                }
            }
#pragma omp for schedule(dynamic)
        for (long task = 0; task < groups * shares; task++) {
            if (failed) continue;
            long o = task / shares * GROUP, rows = least(GROUP, O - o), share = task % shares;
            long first = items * share / shares, last = items * (share + 1) / shares;
            memset(m, 0, GROUP * DEPTH * sizeof(REAL)); /* rows past O stay zero */
            memset(kept, 0, (last - first) * GROUP * ITEM * sizeof(REAL));
            for (long c = 0; c < C; c += DEPTH) {
                const REAL *from = W + o * C + c;
                long terms = least(DEPTH, C - c), kernel = O * C, stride = C;
                if (last - first > 1) { /* one item alone would read the copy only once */
                    gather(w, DEPTH, from, K, O, C, rows, terms);
                    from = w, kernel = rows * DEPTH, stride = DEPTH;
                }
                for (long item = first; item < last; item++) {
                    long b = item / slices, p = item % slices * ITEM, end = least(p + ITEM, P);
                    pair *sums = (pair *)(kept + (item - first) * GROUP * ITEM);
                    mix(m, DEPTH, from, kernel, stride, a + b * K, K, rows, terms);
                    for (; p < end; p += PANEL, sums += GROUP) {
                        const REAL *panel = xp + ((b * panels + p / PANEL) * C + c) * PANEL;
                        for (long r = 0; r < rows; r += ROWS)
                            if (end - p > LANES)
                                multiply(ROWS, 2, sums + r, m + r * DEPTH, DEPTH, 1, panel, terms);
                            else
                                multiply(ROWS, 1, sums + r, m + r * DEPTH, DEPTH, 1, panel, terms);
                    }
                }
            }
            for (long item = first; item < last; item++) {
                long b = item / slices, p = item % slices * ITEM, end = least(p + ITEM, P);
                const REAL *from = kept + (item - first) * GROUP * ITEM;
                for (; p < end; p += PANEL, from += GROUP * PANEL)
                    for (long r = 0; r < rows; r++)
                        memcpy(y + (b * O + o + r) * P + p, from + r * PANEL, least(PANEL, end - p) * sizeof(REAL));
            }
        }
        free(w), free(m), free(kept);
    }
    free(xp);
    return failed;
}

/* sums[i][j] += (sum_k a[k] left[k][i]) . right[j] over `terms` channels, still lane by lane, for DOTS rows i and pixels
   j; a mixture lives in a register. Rows of left are LONG apart, those of right `wide`. */
static inline __attribute__((always_inline)) void mixed_dots(
    vec sums[DOTS][DOTS], const REAL *left, long kernel, const REAL *a, long K, const REAL *right, long wide, long terms)
{
    vec sum[DOTS][DOTS];
    memcpy(sum, sums, sizeof sum);
    for (long d = 0; d < terms; d += LANES) {
        vec pixel[DOTS];
        for (int j = 0; j < DOTS; j++) pixel[j] = load(right + j * wide + d);
        for (int i = 0; i < DOTS; i++) {
            vec mixture = a[0] * load(left + i * LONG + d);
            for (long k = 1; k < K; k++) mixture += a[k] * load(left + k * kernel + i * LONG + d);
            for (int j = 0; j < DOTS; j++) sum[i][j] += mixture * pixel[j];
        }
    }
    memcpy(sums, sum, sizeof sum);
}

/* For fewer pixels than lanes: channels in the lanes, and the sum over the lanes last. */
static int forward_narrow(long B, long K, long O, long C, long P, const REAL *x, const REAL *W, const REAL *a, REAL *y)
{
    long wide = parts(C, LANES) * LANES, pixels = parts(P, DOTS) * DOTS, groups = parts(O, DOTS), shares = cuts(groups, B);
    long failed = 0;
    REAL *xt = buffer(B * pixels * wide); /* x as [B, pixels, wide]; past P and past C there are zeros */
    if (!xt) return 1;
#pragma omp parallel
    {
        REAL *w = buffer(K * DOTS * LONG), *kept = buffer(KEPT * pixels * DOTS * LANES);
        if (!w || !kept) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for
        for (long b = 0; b < B; b++) {
            memset(xt + b * pixels * wide, 0, pixels * wide * sizeof(REAL));
            for (long c = 0; c < C; c++)
                for (long p = 0; p < P; p++) xt[(b * pixels + p) * wide + c] = x[(b * C + c) * P + p];
        }
#pragma omp for schedule(dynamic)
        for (long task = 0; task < groups * shares; task++) {
            if (failed) continue;
            long o = task / shares * DOTS, rows = least(DOTS, O - o), share = task % shares;
            long first = B * share / shares, last = B * (share + 1) / shares;
            memset(kept, 0, (last - first) * pixels * DOTS * LANES * sizeof(REAL));
            for (long c = 0; c < C; c += LONG) {
                long terms = least(LONG, C - c);
                memset(w, 0, K * DOTS * LONG * sizeof(REAL)); /* rows past O and columns past C are zero */
                for (long k = 0; k < K; k++) gather(w + k * DOTS * LONG, LONG, W + (k * O + o) * C + c, 1, O, C, rows, terms);
                for (long b = first; b < last; b++)
                    for (long p = 0; p < pixels; p += DOTS) {
                        vec(*sums)[DOTS] = (vec(*)[DOTS])(kept + ((b - first) * pixels + p) * DOTS * LANES);
                        const REAL *right = xt + (b * pixels + p) * wide + c;
                        if (K == 4) {
                            REAL four[4] = {a[b * 4], a[b * 4 + 1], a[b * 4 + 2], a[b * 4 + 3]};
                            mixed_dots(sums, w, DOTS * LONG, four, 4, right, wide, terms);
                        } else
                            mixed_dots(sums, w, DOTS * LONG, a + b * K, K, right, wide, terms);
                    }
            }
            for (long b = first; b < last; b++)
                for (long r = 0; r < rows; r++)
                    for (long p = 0; p < P; p++) {
                        long tile = ((b - first) * pixels + p / DOTS * DOTS) * DOTS;
                        y[(b * O + o + r) * P + p] = total(load(kept + (tile + r * DOTS + p % DOTS) * LANES));
                    }
        }
        free(w), free(kept);
    }
    free(xt);
    return failed;
}

/* A copy of the input is made of so many samples at a time that it stays in the cache, and that its memory is used anew. */
int forward(long B, long K, long O, long C, long P, const REAL *x, const REAL *W, const REAL *a, REAL *y)
{
    long some = most(1, COPIED / (C * P)), failed = 0;
    for (long b = 0; b < B && !failed; b += some)
        failed = (P < LANES ? forward_narrow : forward_wide)(
            least(some, B - b), K, O, C, P, x + b * C * P, W, a + b * K, y + b * O * P);
    return failed;
}

/* dx, channels in the lanes. */
int backward_input(
    long B, long K, long O, long C, long P, long channels_last, const REAL *g, const REAL *W, const REAL *a, REAL *dx)
{
    long pixel = channels_last ? O : 1, term = channels_last ? 1 : P; /* how far these are apart in g */
    long blocks = parts(C, PANEL), slices = parts(P, ITEM), items = B * slices, shares = cuts(blocks, items), failed = 0;
#pragma omp parallel
    {
        REAL *w = buffer(K * O * PANEL), *m = buffer(DEPTH * PANEL), *kept = buffer(KEPT * ITEM * PANEL);
        if (!w || !m || !kept) {
#pragma omp atomic write
            failed = 1;
        }
        long gathered = -1;
#pragma omp for schedule(dynamic)
        for (long task = 0; task < blocks * shares; task++) {
            if (failed) continue;
            long c = task / shares * PANEL, columns = least(PANEL, C - c), share = task % shares;
            long first = items * share / shares, last = items * (share + 1) / shares;
            if (gathered != c) {
                memset(w, 0, K * O * PANEL * sizeof(REAL)); /* columns past C stay zero */
                gather(w, PANEL, W + c, K, O, C, O, columns);
                gathered = c;
            }
            memset(kept, 0, (last - first) * ITEM * PANEL * sizeof(REAL));
            for (long o = 0; o < O; o += DEPTH) {
                long terms = least(DEPTH, O - o);
                for (long item = first; item < last; item++) {
                    long b = item / slices, p = item % slices * ITEM, end = least(p + ITEM, P);
                    pair *sums = (pair *)(kept + (item - first) * ITEM * PANEL) - p;
                    const REAL *left = g + b * O * P + o * term;
                    mix(m, PANEL, w + o * PANEL, O * PANEL, PANEL, a + b * K, K, terms, PANEL);
                    for (; p + ROWS <= end; p += ROWS) multiply(ROWS, 2, sums + p, left + p * pixel, pixel, term, m, terms);
                    for (; p + 4 <= end; p += 4) multiply(4, 2, sums + p, left + p * pixel, pixel, term, m, terms);
                    for (; p < end; p++) multiply(1, 2, sums + p, left + p * pixel, pixel, term, m, terms);
                }
            }
            for (long item = first; item < last; item++) {
                long b = item / slices, p = item % slices * ITEM, end = least(p + ITEM, P);
                const REAL *from = kept + (item - first) * ITEM * PANEL;
                if (channels_last)
                    for (long q = p; q < end; q++)
                        memcpy(dx + (b * P + q) * C + c, from + (q - p) * PANEL, columns * sizeof(REAL));
                else
                    for (long j = 0; j < columns; j++)
                        for (long q = p; q < end; q++) dx[(b * C + c + j) * P + q] = from[(q - p) * PANEL + j];
            }
        }
        free(w), free(m), free(kept);
    }
    return failed;
}

/* dw[k] += a[k] outer and dots[k] += <w[k], outer>, lane by lane, for a tile and n kernels. */
static inline __attribute__((always_inline)) void share_out(
    const pair outer[ROWS], const REAL *w, REAL *dw, REAL *dots, const REAL *a, int n)
{
    vec dot[4];
    for (int k = 0; k < n; k++) dot[k] = load(dots + k * LANES);
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < 2; v++)
            for (int k = 0; k < n; k++) {
                long at = (k * ROWS + r) * PANEL + v * LANES;
                dot[k] += outer[r][v] * load(w + at);
                store(dw + at, load(dw + at) + a[k] * outer[r][v]);
            }
    for (int k = 0; k < n; k++) store(dots + k * LANES, dot[k]);
}

/* dW and da: each tile of g_b x_b^T serves both, and is gone. */
int backward_weight(long B, long K, long O, long C, long P, long channels_last, const REAL *x, const REAL *g, const REAL *W,
                    const REAL *a, REAL *dW, REAL *da)
{
    long row = channels_last ? 1 : P, pixel = channels_last ? O : 1; /* how far these are apart in g */
    long blocks = parts(C, PANEL), strips = parts(O, ROWS), shares = least(strips, 8), tile = ROWS * PANEL, failed = 0;
    REAL *xt = buffer(blocks * B * P * PANEL);        /* x as [blocks, B, P, PANEL]; past C there are zeros */
    REAL *gt = buffer(B * ROWS * P);                  /* the last rows of g, [B, ROWS, P]; past O there are zeros */
    REAL *partial = buffer(blocks * shares * B * K); /* each task's part of da */
    long ragged = (strips - 1) * ROWS;
    failed = !xt || !gt || !partial;
#pragma omp parallel
    {
        REAL *w = buffer(K * tile), *dw = buffer(K * tile), *dots = buffer(B * K * LANES);
        if (!w || !dw || !dots) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
#pragma omp for collapse(2)
        for (long i = 0; i < blocks; i++)
            for (long b = 0; b < B; b++)
                for (long j = 0; j < PANEL && !failed; j++) {
                    REAL *to = xt + (i * B + b) * P * PANEL + j;
                    const REAL *from = x + b * C * P + (i * PANEL + j) * (channels_last ? 1 : P);
                    for (long p = 0; p < P; p++) to[p * PANEL] = i * PANEL + j < C ? from[p * (channels_last ? C : 1)] : 0;
                }
#pragma omp for
        for (long b = 0; b < B; b++)
            for (long j = 0; j < ROWS && !failed; j++)
                for (long p = 0; p < P; p++)
                    gt[(b * ROWS + j) * P + p] = ragged + j < O ? g[b * O * P + (ragged + j) * row + p * pixel] : 0;
#pragma omp for schedule(dynamic)
        for (long task = 0; task < blocks * shares; task++) {
            if (failed) continue;
            long block = task / shares, c = block * PANEL, columns = least(PANEL, C - c), share = task % shares;
            memset(dots, 0, B * K * LANES * sizeof(REAL));
            for (long strip = strips * share / shares; strip < strips * (share + 1) / shares; strip++) {
                long o = strip * ROWS, rows = least(ROWS, O - o);
                memset(w, 0, K * tile * sizeof(REAL));
                memset(dw, 0, K * tile * sizeof(REAL));
                for (long k = 0; k < K; k++)
                    for (long r = 0; r < rows; r++)
                        memcpy(w + k * tile + r * PANEL, W + (k * O + o + r) * C + c, columns * sizeof(REAL));
                for (long b = 0; b < B; b++) {
                    pair outer[ROWS];
                    memset(outer, 0, sizeof outer);
                    const REAL *right = xt + (block * B + b) * P * PANEL;
                    if (o == ragged)
                        multiply(ROWS, 2, outer, gt + b * ROWS * P, P, 1, right, P);
                    else
                        multiply(ROWS, 2, outer, g + b * O * P + o * row, row, pixel, right, P);
                    long k = 0;
                    for (; k + 4 <= K; k += 4)
                        share_out(outer, w + k * tile, dw + k * tile, dots + (b * K + k) * LANES, a + b * K + k, 4);
                    for (; k < K; k++)
                        share_out(outer, w + k * tile, dw + k * tile, dots + (b * K + k) * LANES, a + b * K + k, 1);
                }
                for (long k = 0; k < K; k++)
                    for (long r = 0; r < rows; r++)
                        memcpy(dW + (k * O + o + r) * C + c, dw + k * tile + r * PANEL, columns * sizeof(REAL));
            }
            for (long n = 0; n < B * K; n++) partial[task * B * K + n] = total(load(dots + n * LANES));
        }
        free(w), free(dw), free(dots);
    }
    for (long n = 0; n < B * K && !failed; n++) {
        da[n] = 0;
        for (long task = 0; task < blocks * shares; task++) da[n] += partial[task * B * K + n];
    }
    free(xt), free(gt), free(partial);
    return failed;
}
