// A trained MobileNetV1 in plain JavaScript: what `eamlib.book.live.packed` wrote, read and run.
"use strict";

/** The bytes behind a base64 text. */
function bytesOf(text) {
    return Uint8Array.from(atob(text), character => character.charCodeAt(0));
}

/** The layers with their numbers: every row of 8-bit numbers times its scale. */
function unpack(about) {
    const whole = new Int8Array(bytesOf(about.whole).buffer), fractions = new Float32Array(bytesOf(about.fractions).buffer);
    let w = 0, f = 0;
    const vector = size => fractions.slice(f, (f += size));
    const matrix = (rows, columns) => {
        const scales = vector(rows), numbers = new Float32Array(rows * columns);
        for (let i = 0; i < numbers.length; i++) numbers[i] = whole[w + i] * scales[Math.floor(i / columns)];
        w += numbers.length;
        return numbers;
    };
    const layers = about.layers.map(layer => {
        const taps = layer.size ** 2 * (layer.depthwise ? 1 : layer.inputs);
        const made = { ...layer, taps, weight: matrix(layer.kernels * layer.outputs, taps), bias: vector(layer.outputs) };
        if (layer.kernels > 1) {
            made.features = layer.reads ? 25 * layer.reads.length : layer.inputs;
            made.first = matrix(layer.hidden, made.features);
            made.last = matrix(layer.kernels, layer.hidden);
            made.offset = vector(layer.kernels);
            [made.temperature] = vector(1);
            made.mean = [...vector(layer.kernels)];
        }
        return made;
    });
    const channels = layers.at(-1).outputs, classes = (fractions.length - f) / 2;
    return { ...about, whole: null, fractions: null, layers, head: matrix(classes, channels), headBias: vector(classes) };
}

/** Pixels 0 … 255, channel by channel, as the network was trained to see them. */
function normalized(pixels, { mean, std }) {
    const places = pixels.length / 3;
    return Float32Array.from(pixels, (value, i) => {
        const channel = Math.floor(i / places);
        return (value / 255 - mean[channel]) / std[channel];
    });
}

function softmax(logits) {
    const top = Math.max(...logits), powers = logits.map(logit => Math.exp(logit - top));
    const total = powers.reduce((a, b) => a + b);
    return powers.map(power => power / total);
}

/** What an attention reads: n channels in 5 × 5 windows each, or the mean of every channel. */
function descriptor(layer, maps, side, reads) {
    const windows = reads ? 5 : 1, found = [];
    for (const channel of reads ?? Array.from({ length: layer.inputs }, (_, c) => c))
        for (let i = 0; i < windows; i++)
            for (let j = 0; j < windows; j++) {
                const [top, left] = [i, j].map(n => Math.floor((n * side) / windows));
                const [bottom, right] = [i, j].map(n => Math.ceil(((n + 1) * side) / windows));
                let sum = 0;
                for (let y = top; y < bottom; y++)
                    for (let x = left; x < right; x++) sum += maps[(channel * side + y) * side + x];
                found.push(sum / ((bottom - top) * (right - left)));
            }
    return found;
}

/** A layer's own mixing weights for what it reads: linear, ReLU, linear, softmax. */
function attention(layer, input) {
    const hidden = [];
    for (let h = 0; h < layer.hidden; h++) {
        let sum = 0;
        for (let i = 0; i < layer.features; i++) sum += layer.first[h * layer.features + i] * input[i];
        hidden.push(Math.max(0, sum));
    }
    return softmax(Array.from(layer.offset, (value, k) =>
        hidden.reduce((sum, number, h) => sum + layer.last[k * layer.hidden + h] * number, value) / layer.temperature));
}

/** The one kernel that a mixture makes of the K kernels. */
function mixture(layer, mix) {
    if (layer.kernels === 1) return layer.weight;
    const size = layer.outputs * layer.taps, kernel = new Float32Array(size);
    for (let k = 0; k < layer.kernels; k++)
        for (let i = 0; i < size; i++) kernel[i] += mix[k] * layer.weight[k * size + i];
    return kernel;
}

/** A 1 × 1 convolution at a stride of 1: at every place, the product of a matrix and the channels' values. */
function pointwise({ inputs, outputs, bias }, kernel, maps, places) {
    const result = new Float32Array(outputs * places), values = new Float32Array(inputs);
    for (let p = 0; p < places; p++) {
        for (let c = 0; c < inputs; c++) values[c] = maps[c * places + p];
        for (let o = 0; o < outputs; o++) {
            let sum = bias[o];
            for (let c = 0, w = o * inputs; c < inputs; c++, w++) sum += kernel[w] * values[c];
            result[o * places + p] = sum;
        }
    }
    return result;
}

/** Any other convolution; of a depthwise one, every output reads the one input of its number. */
function spatial({ inputs, outputs, size, stride, depthwise, taps, bias }, kernel, maps, side, out) {
    const pad = (size - 1) / 2, result = new Float32Array(outputs * out * out);
    for (let o = 0; o < outputs; o++) {
        const map = result.subarray(o * out * out, (o + 1) * out * out).fill(bias[o]);
        for (let c = depthwise ? o : 0; c < (depthwise ? o + 1 : inputs); c++)
            for (let u = 0; u < size; u++)
                for (let v = 0; v < size; v++) {
                    const weight = kernel[o * taps + ((depthwise ? 0 : c) * size + u) * size + v];
                    const first = Math.max(0, Math.ceil((pad - v) / stride));
                    const last = Math.min(out - 1, Math.floor((side - 1 + pad - v) / stride));
                    for (let y = 0; y < out; y++) {
                        const above = y * stride + u - pad;
                        if (above < 0 || above >= side) continue;
                        const from = (c * side + above) * side - pad + v;
                        for (let x = first; x <= last; x++) map[y * out + x] += weight * maps[from + x * stride];
                    }
                }
    }
    return result;
}

/** Convolve, add the bias, and keep what is above zero. */
function convolve(layer, kernel, maps, side) {
    const out = Math.ceil(side / layer.stride);
    const result = layer.size === 1 ? pointwise(layer, kernel, maps, out * out) : spatial(layer, kernel, maps, side, out);
    for (let i = 0; i < result.length; i++) if (result[i] < 0) result[i] = 0;
    return [result, out];
}

/**
 * The network's answer to an image of pixels 0 … 255.
 *
 * `change.mix(layer index, own mix)` puts another mixture in place of the own one, `change.reads[layer index]` other
 * channels under the frames, and `change.removed[layer index]` is a set of channels that the layer finds empty.
 * Returned are the logits, the mixtures, and what every layer saw: its maps, their side, what its attention read.
 */
function run(network, pixels, change = {}) {
    let maps = normalized(pixels, network), side = Math.sqrt(pixels.length / 3);
    const seen = [], mixes = [];
    network.layers.forEach((layer, index) => {
        for (const channel of change.removed?.[index] ?? []) maps.fill(0, channel * side * side, (channel + 1) * side * side);
        let read = null, mix = null;
        if (layer.kernels > 1) {
            read = descriptor(layer, maps, side, change.reads?.[index] ?? layer.reads);
            mix = attention(layer, read);
            mix = change.mix ? change.mix(index, mix) : mix;
        }
        seen.push({ maps, side, read });
        mixes.push(mix);
        [maps, side] = convolve(layer, mixture(layer, mix), maps, side);
    });
    const channels = network.layers.at(-1).outputs, places = side * side;
    const means = Array.from({ length: channels }, (_, c) =>
        maps.subarray(c * places, (c + 1) * places).reduce((a, b) => a + b) / places);
    const logits = Array.from(network.headBias, (value, k) =>
        means.reduce((sum, mean, c) => sum + network.head[k * channels + c] * mean, value));
    return { logits, mixes, seen };
}

/** The index of the largest number. */
function largest(numbers) {
    return numbers.reduce((best, value, i) => (value > numbers[best] ? i : best), 0);
}
