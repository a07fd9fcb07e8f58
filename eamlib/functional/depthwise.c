/* A depthwise convolution in which every sample has a kernel of its own, and its gradients, with the channels last.

   x [B, H, W, C], w [B, R, S, C], y [B, H', W', C], contiguous. A block of channels lies in the lanes of vectors, so that
   neither a border nor a stride breaks them, and no sum goes across lanes.

   Compiled once with REAL = float and once with double. A block of a sample's channels is the work of one thread: results
   do not depend on how many there are. */

#include <string.h>

#define BLOCK 16 /* channels at a time */

enum task { FORWARD, OF_INPUT, OF_WEIGHT };

typedef struct {
    long in, out, taps, stride, pad, spread;
} axis;

/* Where an output reads the input through a tap: at output * stride + shift(tap). */
static long shift(axis of, long tap) { return tap * of.spread - of.pad; }

/* The first output whose input through this tap is not before `position`. */
static long first(axis of, long tap, long position)
{
    long ahead = position - shift(of, tap);
    return ahead <= 0 ? 0 : (ahead + of.stride - 1) / of.stride;
}

/* n channels of a sample. Of x, w and y the task adds to one, which begins as zeros. */
static inline __attribute__((always_inline)) void block(
    enum task task, int n, axis rows, axis columns, long C, REAL *restrict x, REAL *restrict w, REAL *restrict y)
{
    for (long i = 0; i < rows.out; i++, y += columns.out * C)
        for (long r = 0; r < rows.taps; r++) {
            long row = i * rows.stride + shift(rows, r);
            if (row < 0 || row >= rows.in) continue;
            for (long s = 0; s < columns.taps; s++) {
                long j = first(columns, s, 0), end = first(columns, s, columns.in), step = columns.stride * C;
                if (end > columns.out) end = columns.out;
                REAL *from = x + (row * columns.in + shift(columns, s)) * C, *tap = w + (r * columns.taps + s) * C;
                REAL weight[BLOCK], sum[BLOCK] = {0};
                if (task != OF_WEIGHT)
                    for (int c = 0; c < n; c++) weight[c] = tap[c];
                for (; j < end; j++)
                    for (int c = 0; c < n; c++)
                        if (task == FORWARD)
                            y[j * C + c] += weight[c] * from[j * step + c];
                        else if (task == OF_INPUT)
                            from[j * step + c] += weight[c] * y[j * C + c];
                        else
                            sum[c] += y[j * C + c] * from[j * step + c];
                if (task == OF_WEIGHT)
                    for (int c = 0; c < n; c++) tap[c] += sum[c];
            }
        }
}

static inline __attribute__((always_inline)) int run(
    enum task task, long B, long C, axis rows, axis columns, REAL *x, REAL *w, REAL *y)
{
    long blocks = (C + BLOCK - 1) / BLOCK, in = rows.in * columns.in * C, out = rows.out * columns.out * C;
    long kernel = rows.taps * columns.taps * C;
    REAL *made = task == FORWARD ? y : task == OF_INPUT ? x : w;
    memset(made, 0, B * (task == FORWARD ? out : task == OF_INPUT ? in : kernel) * sizeof(REAL));
#pragma omp parallel for collapse(2)
    for (long b = 0; b < B; b++)
        for (long i = 0; i < blocks; i++) {
            long c = i * BLOCK, n = C - c < BLOCK ? C - c : BLOCK;
            REAL *ours = x + b * in + c, *kernels = w + b * kernel + c, *theirs = y + b * out + c;
            if (n == BLOCK) /* what the compiler knows it writes out as vectors */
                block(task, BLOCK, rows, columns, C, ours, kernels, theirs);
            else if (n == BLOCK / 2)
                block(task, BLOCK / 2, rows, columns, C, ours, kernels, theirs);
            else
                block(task, n, rows, columns, C, ours, kernels, theirs);
        }
    return 0;
}

#define DEPTHWISE(NAME, TASK)                                                                                           \
    int NAME(long B, long C, long H, long W, long H_out, long W_out, long R, long S, long stride_y, long stride_x,        \
             long pad_y, long pad_x, long spread_y, long spread_x, REAL *x, REAL *w, REAL *y)                             \
    {                                                                                                                     \
        axis rows = {H, H_out, R, stride_y, pad_y, spread_y}, columns = {W, W_out, S, stride_x, pad_x, spread_x};         \
        return run(TASK, B, C, rows, columns, x, w, y);                                                                   \
    }
DEPTHWISE(depthwise_forward, FORWARD)
DEPTHWISE(depthwise_of_input, OF_INPUT)
DEPTHWISE(depthwise_of_weight, OF_WEIGHT)
