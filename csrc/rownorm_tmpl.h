/* Norms over contiguous runs: layer, RMS, group and instance norm (Ba et al., 2016; Zhang &
 * Sennrich, 2019; Wu & He, 2018; Ulyanov et al., 2016), and batch norm of (N, C, L).
 *
 * A row is `channels` runs of `run` elements each, with a gamma and a beta per channel. Layer
 * norm is the case of runs of one element, which has kernels of its own. A row is finished while
 * it is in cache. Bytes per element in float32: forward 8, backward 12; batch norm as in
 * norm_tmpl.h.
 */

/* Batch norm of (N, C, L): a panel's rows are samples, its columns runs of panel.run elements. */

static void run_moments(double *mean, double *m2, const void *x_, fr_panel panel,
                        const void *origin_)
{
    const real *origin = origin_;
    const double here = (double)panel.run;
    for (ptrdiff_t n = 0; n < panel.rows; n++) {
        const real *x = (const real *)x_ + n * panel.stride;
        const double before = (double)n * here;
        const double weight = here / (before + here), cross = before * weight;
        for (ptrdiff_t c = 0; c < panel.cols; c++, x += panel.run) {
            const moment run = moments_of(x, panel.run, 1);
            const double run_mean = (double)x[0] - (double)origin[c] + run.mean;
            const double delta = n ? run_mean - mean[c] : run_mean;
            mean[c] = n ? mean[c] + delta * weight : run_mean;
            m2[c] = n ? m2[c] + run.m2 + delta * delta * cross : run.m2;
        }
    }
}

static void run_normalize(void *y, const void *x_, fr_panel panel, fr_channels channels,
                          int stream)
{
    sink sink;
    sink_open(&sink, y, stream);
    for (ptrdiff_t n = 0; n < panel.rows; n++) {
        const real *x = (const real *)x_ + n * panel.stride;
        sink_move(&sink, (real *)y + n * panel.stride);
        for (ptrdiff_t c = 0; c < panel.cols; c++, x += panel.run) {
            const pair centre = parts(channels.mean[c]);
            scale_run(&sink, x, panel.run, centre.first, centre.second,
                      (real)(channels.gamma[c] * channels.inv_std[c]), (real)channels.beta[c]);
        }
    }
    sink_close(&sink);
}

static void run_sums(double *dscale, double *dbeta, const void *dy_, const void *x_,
                     fr_panel panel, const double *mean)
{
    for (ptrdiff_t c = 0; c < panel.cols; c++)
        dscale[c] = dbeta[c] = 0;
    for (ptrdiff_t n = 0; n < panel.rows; n++) {
        const real *x = (const real *)x_ + n * panel.stride;
        const real *dy = (const real *)dy_ + n * panel.stride;
        for (ptrdiff_t c = 0; c < panel.cols; c++, x += panel.run, dy += panel.run) {
            const pair centre = parts(mean[c]);
            double sum, dot;
            run_dots(&sum, &dot, dy, x, panel.run, centre.first, centre.second);
            dbeta[c] += sum;
            dscale[c] += dot;
        }
    }
}

static void run_backward(void *dx, const void *dy_, const void *x_, fr_panel panel,
                         fr_channels channels, const double *mean_dy, const double *slope,
                         int stream)
{
    sink sink;
    sink_open(&sink, dx, stream);
    for (ptrdiff_t n = 0; n < panel.rows; n++) {
        const real *x = (const real *)x_ + n * panel.stride;
        const real *dy = (const real *)dy_ + n * panel.stride;
        sink_move(&sink, (real *)dx + n * panel.stride);
        for (ptrdiff_t c = 0; c < panel.cols; c++, x += panel.run, dy += panel.run) {
            const pair centre = parts(channels.mean[c]);
            const double scale = channels.gamma[c] * channels.inv_std[c];
            gradient_run(&sink, dy, x, panel.run, centre.first, centre.second, (real)scale,
                         (real)(scale * mean_dy[c]), (real)(scale * slope[c]));
        }
    }
    sink_close(&sink);
}

/* Norms of rows. */

/* statistics: mean and 1 / sqrt(mean square deviation + epsilon) of each row. Every step is done
 * for all rows before the next: the sums of a short row are one chain of waiting after another,
 * those of many rows overlap. The bits are those of moments_of. */
FR_INLINE void row_statistics(double *statistics, const real *x, ptrdiff_t rows, ptrdiff_t n,
                              double epsilon, int centred)
{
    const double share = 1.0 / (double)n;
    real centre[FR_ROW_TILE];
    pair rest[FR_ROW_TILE];
    if (n > FR_ROW_BLOCK || !centred) {
        for (ptrdiff_t r = 0; r < rows; r++) {
            const moment moment = moments_of(x + r * n, n, centred);
            statistics[2 * r] = centred ? (double)x[r * n] + moment.mean : 0;
            statistics[2 * r + 1] = moment.m2;
        }
    } else {
        for (ptrdiff_t r = 0; r < rows; r++)
            centre[r] = x[r * n] + sum_from(x + r * n, n, x[r * n]) * (real)share;
        for (ptrdiff_t r = 0; r < rows; r++)
            rest[r] = spread_around(x + r * n, n, centre[r]);
        for (ptrdiff_t r = 0; r < rows; r++) {
            const double shift = (double)rest[r].first * share;
            const double mean = (double)centre[r] - (double)x[r * n] + shift;
            statistics[2 * r] = (double)x[r * n] + mean;
            statistics[2 * r + 1] = (double)rest[r].second - shift * (double)rest[r].first;
        }
    }
    int plain = 1;
    for (ptrdiff_t r = 0; r < rows; r++) {
        statistics[2 * r + 1] = 1.0 / sqrt(statistics[2 * r + 1] / (double)n + epsilon);
        plain &= plain_row(statistics + 2 * r);
    }
    for (ptrdiff_t r = 0; !plain && r < rows; r++)
        if (!plain_row(statistics + 2 * r))
            extreme_statistics(statistics + 2 * r, x + r * n, n, epsilon, centred);
}

/* Rows that stay in L1 together. */
FR_INLINE ptrdiff_t row_tile(ptrdiff_t n, ptrdiff_t least)
{
    const ptrdiff_t fit = FR_ROW_BLOCK / n;
    return fit < least ? least : fit < FR_ROW_TILE ? fit : FR_ROW_TILE;
}

static void layer_forward(void *y_, double *statistics, const void *x_, const fr_rows *all)
{
    const ptrdiff_t n = all->channels, tile = row_tile(n, 1),
                    offset = all->first % all->groups * n;
    const real *x = x_, *gamma_end = (const real *)all->gamma + all->groups * n;
    const real *gamma = (const real *)all->gamma + offset;
    const real *beta = (const real *)all->beta + offset;
    sink sink;
    sink_open(&sink, y_, all->stream);
    for (ptrdiff_t done = 0; done < all->rows; done += tile) {
        const ptrdiff_t rows = all->rows - done < tile ? all->rows - done : tile;
        row_statistics(statistics, x, rows, n, all->epsilon, all->centred);
        for (ptrdiff_t r = 0; r < rows; r++, x += n, statistics += 2) {
            const pair mean = parts(statistics[0]);
            const real inv_std = (real)statistics[1];
            fr_prefetch(x + tile * n, (size_t)n * sizeof(real));
            if (!plain_row(statistics))
                extreme_forward(&sink, x, statistics, n, 1, gamma, beta);
            else
                for (ptrdiff_t begin = 0; begin < n; begin += FR_PANEL_RUN) {
                    const ptrdiff_t here = n - begin < FR_PANEL_RUN ? n - begin : FR_PANEL_RUN;
                    const real *from = x + begin, *scale = gamma + begin, *shift = beta + begin;
                    real *y = sink_next(&sink, here);
                    FR_ELEMENTWISE
                    for (ptrdiff_t i = 0; i < here; i++)
                        y[i] = (((from[i] - mean.first) - mean.second) * inv_std) * scale[i] +
                               shift[i];
                }
            gamma += n, beta += n;
            if (gamma == gamma_end)
                gamma = all->gamma, beta = all->beta;
        }
    }
    sink_close(&sink);
}

static void group_forward(void *y, double *statistics, const void *x_, const fr_rows *all)
{
    const ptrdiff_t channels = all->channels, run = all->run;
    const real *x = x_;
    sink sink;
    sink_open(&sink, y, all->stream);
    for (ptrdiff_t r = 0; r < all->rows; r++, statistics += 2) {
        const ptrdiff_t first = (all->first + r) % all->groups * channels;
        const real *gamma = (const real *)all->gamma + first;
        const real *beta = (const real *)all->beta + first;
        row_statistics(statistics, x, 1, channels * run, all->epsilon, all->centred);
        const pair centre = parts(statistics[0]);
        if (!plain_row(statistics)) {
            extreme_forward(&sink, x, statistics, channels, run, gamma, beta);
            x += channels * run;
            continue;
        }
        for (ptrdiff_t c = 0; c < channels; c++, x += run)
            scale_run(&sink, x, run, centre.first, centre.second,
                      (real)((double)gamma[c] * statistics[1]), beta[c]);
    }
    sink_close(&sink);
}

/* dgamma and dbeta of `rows` rows whose columns have the same channels. */
FR_INLINE void column_sums(double *dgamma, double *dbeta, const real *dy_, const real *x_,
                           ptrdiff_t rows, ptrdiff_t n, const double *statistics)
{
    real hi[FR_ROW_TILE], lo[FR_ROW_TILE], inv_std[FR_ROW_TILE];
    real sum[FR_PANEL_COLS], dot[FR_PANEL_COLS];
    for (ptrdiff_t r = 0; r < rows; r++) {
        hi[r] = (real)statistics[2 * r];
        lo[r] = (real)(statistics[2 * r] - (double)hi[r]);
        inv_std[r] = (real)statistics[2 * r + 1];
    }
    for (ptrdiff_t first = 0; first < n; first += FR_PANEL_COLS) {
        const ptrdiff_t cols = n - first < FR_PANEL_COLS ? n - first : FR_PANEL_COLS;
        const real *x = x_ + first, *dy = dy_ + first;
        ptrdiff_t r = 0;
        for (ptrdiff_t c = 0; c < cols; c++)
            sum[c] = dot[c] = 0;
        for (; r + 2 <= rows; r += 2) {
            const real *p = x + r * n, *q = p + n, *dp = dy + r * n, *dq = dp + n;
            const real hp = hi[r], hq = hi[r + 1], lp = lo[r], lq = lo[r + 1];
            const real ip = inv_std[r], iq = inv_std[r + 1];
            for (ptrdiff_t c = 0; c < cols; c++) {
                sum[c] += dp[c] + dq[c];
                dot[c] += dp[c] * (((p[c] - hp) - lp) * ip) + dq[c] * (((q[c] - hq) - lq) * iq);
            }
        }
        if (r < rows)
            for (ptrdiff_t c = 0; c < cols; c++) {
                const real d = dy[r * n + c];
                sum[c] += d;
                dot[c] += d * (((x[r * n + c] - hi[r]) - lo[r]) * inv_std[r]);
            }
        for (ptrdiff_t c = 0; c < cols; c++) {
            dbeta[first + c] += (double)sum[c];
            dgamma[first + c] += (double)dot[c];
        }
    }
}

static void layer_backward(void *dx_, double *dgamma, double *dbeta, const void *dy_,
                           const void *x_, const double *statistics, const fr_rows *all)
{
    const ptrdiff_t n = all->channels;
    const ptrdiff_t tile = all->groups > 1 ? 1 : row_tile(n, 4);
    const int centred = all->centred;
    const double share = 1.0 / (double)n;
    const real *x = x_, *dy = dy_;
    double sum[FR_ROW_TILE], dot[FR_ROW_TILE];
    sink sink;
    sink_open(&sink, dx_, all->stream);
    for (ptrdiff_t c = 0; c < all->groups * n; c++)
        dgamma[c] = dbeta[c] = 0;
    for (ptrdiff_t done = 0; done < all->rows; done += tile) {
        const ptrdiff_t rows = all->rows - done < tile ? all->rows - done : tile;
        const ptrdiff_t first = (all->first + done) % all->groups * n;
        const real *gamma = (const real *)all->gamma + first;
        int plain = 1;
        for (ptrdiff_t r = 0; r < rows; r++) {
            const pair mean = parts(statistics[2 * r]);
            row_dots(sum + r, dot + r, dy + r * n, x + r * n, gamma, n, mean.first, mean.second);
            plain &= plain_row(statistics + 2 * r) &&
                     plain_sums(sum[r], dot[r] * statistics[2 * r + 1]);
        }
        if (!plain) {
            for (ptrdiff_t r = 0; r < rows; r++, x += n, dy += n, statistics += 2)
                extreme_backward(&sink, dgamma + first, dbeta + first, dy, x, statistics, gamma,
                                 n, 1, centred);
            continue;
        }
        column_sums(dgamma + first, dbeta + first, dy, x, rows, n, statistics);
        for (ptrdiff_t r = 0; r < rows; r++, x += n, dy += n, statistics += 2) {
            const pair mean = parts(statistics[0]);
            const double inv_std = statistics[1];
            fr_prefetch(x + tile * n, (size_t)n * sizeof(real));
            fr_prefetch(dy + tile * n, (size_t)n * sizeof(real));
            const real scale = (real)inv_std;
            const real offset = centred ? (real)(inv_std * sum[r] * share) : 0;
            const real tilt = (real)(inv_std * inv_std * inv_std * dot[r] * share);
            for (ptrdiff_t begin = 0; begin < n; begin += FR_PANEL_RUN) {
                const ptrdiff_t here = n - begin < FR_PANEL_RUN ? n - begin : FR_PANEL_RUN;
                const real *p = x + begin, *g = gamma + begin, *d = dy + begin;
                real *dx = sink_next(&sink, here);
                FR_ELEMENTWISE
                for (ptrdiff_t i = 0; i < here; i++)
                    dx[i] = ((d[i] * g[i]) * scale - offset) -
                            ((p[i] - mean.first) - mean.second) * tilt;
            }
        }
    }
    sink_close(&sink);
}

static void group_backward(void *dx_, double *dgamma, double *dbeta, const void *dy_,
                           const void *x_, const double *statistics, const fr_rows *all)
{
    const ptrdiff_t channels = all->channels, run = all->run, size = channels * run;
    const double share = 1.0 / (double)size;
    const real *x = x_, *dy = dy_;
    sink sink;
    sink_open(&sink, dx_, all->stream);
    for (ptrdiff_t c = 0; c < all->groups * channels; c++)
        dgamma[c] = dbeta[c] = 0;
    for (ptrdiff_t r = 0; r < all->rows; r++, x += size, dy += size, statistics += 2) {
        const ptrdiff_t first = (all->first + r) % all->groups * channels;
        const real *gamma = (const real *)all->gamma + first;
        const pair centre = parts(statistics[0]);
        const double inv_std = statistics[1];
        double sums = 0, dots = 0;
        if (!plain_row(statistics)) {
            extreme_backward(&sink, dgamma + first, dbeta + first, dy, x, statistics, gamma,
                             channels, run, all->centred);
            continue;
        }
        for (ptrdiff_t c = 0; c < channels; c++) {
            double sum, dot;
            run_dots(&sum, &dot, dy + c * run, x + c * run, run, centre.first, centre.second);
            if (!plain_sums(sum, dot * inv_std))
                extreme_dots(&sum, &dot, dy + c * run, x + c * run, run, statistics[0]);
            dbeta[first + c] += sum;
            dgamma[first + c] += dot * inv_std;
            sums += sum * (double)gamma[c];
            dots += dot * (double)gamma[c];
        }
        const real offset = all->centred ? (real)(inv_std * sums * share) : 0;
        const real tilt = (real)(inv_std * inv_std * inv_std * dots * share);
        for (ptrdiff_t c = 0; c < channels; c++)
            gradient_run(&sink, dy + c * run, x + c * run, run, centre.first, centre.second,
                         (real)((double)gamma[c] * inv_std), offset, tilt);
    }
    sink_close(&sink);
}
