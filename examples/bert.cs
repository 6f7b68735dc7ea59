#:package Bert4Rec.Kernels@*

// A whole BERT4Rec of one layer in one file, on the kernels alone: parameters, forward, backward and Adam, each call with its shapes. The
// library has the same in src/Bert4Rec/Model/Bert4RecModel.cs, with all that a shop needs around it.
//
//     dotnet run examples/bert.cs
//
// What it learns: customers buy the things 1 to 40 in a circle, and leave one out now and then: two may come next.

using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Cpu;

const int B = 64, L = 8, T = B * L;                     // sequences, events of each, tokens of a batch
const int H = 32, Heads = 2, I = 4 * H;                 // hidden size, heads, inner size
const int V = 41, Mask = V;                             // items, 0 being padding; the row of [mask] is one more
const float Epsilon = 1e-12f, LearningRate = 0.003f;

using KernelSet kernels = CpuKernels.Create();
var random = new Random(1);

// ---- Parameters, one after the other in a buffer, and their gradients likewise: so Adam is one call ----

const int Count = ((V + 1 + L) * H) + V + (3 * 2 * H) + (4 * H * H) + (4 * H) + (2 * I * H) + I + H;
DeviceBuffer<float> parameters = kernels.AllocateFloats(Count), gradients = kernels.AllocateFloats(Count);
DeviceBuffer<float> firstMoments = kernels.AllocateFloats(Count), secondMoments = kernels.AllocateFloats(Count);
long end = 0;
var (items, dItems) = Parameter(V + 1, H);              // E: what a token is, and what h is compared with
var (positions, dPositions) = Parameter(L, H);          // P: where it stands
var (scoreBias, dScoreBias) = Parameter(1, V, 0);
var (embeddingNorm, dEmbeddingNorm) = Norm();
var (query, dQuery) = Linear(H, H);
var (keyValue, dKeyValue) = Linear(2 * H, H);
var (dense, dDense) = Linear(H, H);
var (attentionNorm, dAttentionNorm) = Norm();
var (inner, dInner) = Linear(I, H);
var (outer, dOuter) = Linear(H, I);
var (outputNorm, dOutputNorm) = Norm();
WeightAndBias catalogue = new(items.First(V), scoreBias), dCatalogue = new(dItems.First(V), dScoreBias);

// ---- Activations: what the forward keeps for the backward ----

Tensor embedded = Activation(T, H), x = Activation(T, H), q = Activation(T, H), kv = Activation(T, 2 * H);
Tensor attention = Activation(T, H), logSumExp = Activation(T, Heads), sum1 = Activation(T, H), y = Activation(T, H);
Tensor u = Activation(T, I), slope = Activation(T, I), sum2 = Activation(T, H), output = Activation(T, H);
Tensor hidden = Activation(T, H), losses = Activation(1, T), scoreLogSumExp = Activation(1, T), loss = Activation(1, 1);
Tensor statistics0 = Activation(T, 2), statistics1 = Activation(T, 2), statistics2 = Activation(T, 2);

// Gradients of activations. One of them, d, goes from the top of the network to the bottom: it is that of output, y and x in turn.
Tensor dHidden = Activation(T, H), d = Activation(T, H), dBranch = Activation(T, H), dU = Activation(T, I);
Tensor dAttention = Activation(T, H), dQ = Activation(T, H), dKv = Activation(T, 2 * H);

// ---- A batch: its tokens one sequence after the other, and where each sequence begins ----

Indices tokens = Integers(T), places = Integers(T), offsets = Integers(B + 1);
Indices masked = Integers(T), rows = Integers(T), targets = Integers(T), maskedOffsets = Integers(B + 1);
places.Upload([.. Enumerable.Range(0, T).Select(t => t % L)]);
offsets.Upload([.. Enumerable.Range(0, B + 1).Select(b => b * L)]);
var layout = new AttentionLayout(offsets, offsets, Heads, L);

for (int step = 1; step <= 1000; step++)
{
    int m = Forward(step, maskRatio: 0.3f, lastOnlyShare: 0.2f);
    kernels.Fill(loss, 0);
    kernels.SoftmaxCrossEntropyForward(hidden.First(m), catalogue, targets.First(m), First(losses, m), First(scoreLogSumExp, m));
    kernels.AddSum(First(losses, m), loss);
    Backward(m);
    kernels.Adam(
        Tensor.Of(parameters), Tensor.Of(gradients), Tensor.Of(firstMoments), Tensor.Of(secondMoments), default,
        new AdamStep(step, LearningRate));
    if (step % 200 == 0)
        Console.WriteLine($"step {step}: loss {loss.ToArray()[0] / m:F3}");
}

// Asked for the last event of each sequence, it should name the two that may come.
Forward(0, maskRatio: 0, lastOnlyShare: 1);
Indices best = Integers(2 * B);
kernels.TopK(hidden.First(B), catalogue, default, default, default, best, Activation(B, 2), default);
int[] named = best.ToArray(), came = targets.First(B).ToArray();
Console.WriteLine($"recall@2 {Enumerable.Range(0, B).Count(b => named[2 * b] == came[b] || named[(2 * b) + 1] == came[b]) / (double)B:F3}");

// Draws a batch and hides events of it; hidden [M, H] gets the output at the M hidden ones.
int Forward(int step, float maskRatio, float lastOnlyShare)
{
    var drawn = new int[T];
    for (int t = 0; t < T; t++)
        drawn[t] = t % L == 0 ? random.Next(1, V) : ((drawn[t - 1] + random.Next(0, 2)) % (V - 1)) + 1;
    tokens.Upload(drawn);
    var masking = new ClozeMasking(
        new RandomKey(1, (uint)step, 0, 0), maskRatio, lastOnlyShare, Mask, CountedLimit: L, SkipFirst: false, AtLeastOne: true);
    int m = kernels.ClozeMask(tokens, offsets, masking, masked, rows, targets, maskedOffsets);

    kernels.EmbeddingForward(masked, places, items, positions, embedded);
    kernels.LayerNormForward(embedded, default, default, embeddingNorm, Epsilon, x, statistics0);

    kernels.LinearForward(x, query, q);
    kernels.LinearForward(x, keyValue, kv);
    kernels.AttentionForward(q, kv, layout, default, attention, logSumExp);
    kernels.LinearForward(attention, dense, sum1);
    kernels.LayerNormForward(sum1, x, default, attentionNorm, Epsilon, y, statistics1);   // sum1 += x, y = norm(sum1)

    kernels.LinearGeluForward(y, inner, u, slope);
    kernels.LinearForward(u, outer, sum2);
    kernels.LayerNormForward(sum2, y, default, outputNorm, Epsilon, output, statistics2); // sum2 += y, output = norm(sum2)

    kernels.GatherRowsForward(output, rows.First(m), hidden.First(m));
    return m;
}

// The same calls in reverse. Gradients of parameters are added to, and Adam clears them; those of activations are set, or added to where
// accumulate says so.
void Backward(int m)
{
    kernels.SoftmaxCrossEntropyBackward(
        hidden.First(m), catalogue, targets.First(m), First(scoreLogSumExp, m), 1f / m, dHidden.First(m), dCatalogue);
    kernels.Fill(d, 0);
    kernels.GatherRowsBackward(dHidden.First(m), rows.First(m), d);

    kernels.LayerNormBackward(d, sum2, outputNorm.Weight, statistics2, default, d, dBranch, dOutputNorm);
    kernels.LinearBackwardWeight(dBranch, u, dOuter);
    kernels.LinearBackwardInput(dBranch, outer.Weight, slope, dU, accumulate: false);
    kernels.LinearBackwardWeight(dU, y, dInner);
    kernels.LinearBackwardInput(dU, inner.Weight, default, d, accumulate: true);          // d, by way of the residual, is dy's start

    kernels.LayerNormBackward(d, sum1, attentionNorm.Weight, statistics1, default, d, dBranch, dAttentionNorm);
    kernels.LinearBackwardWeight(dBranch, attention, dDense);
    kernels.LinearBackwardInput(dBranch, dense.Weight, default, dAttention, accumulate: false);
    kernels.AttentionBackward(dAttention, q, kv, attention, logSumExp, layout, default, dQ, dKv);
    kernels.LinearBackwardWeight(dQ, x, dQuery);
    kernels.LinearBackwardWeight(dKv, x, dKeyValue);
    kernels.LinearBackwardInput(dQ, query.Weight, default, d, accumulate: true);          // and now dx's
    kernels.LinearBackwardInput(dKv, keyValue.Weight, default, d, accumulate: true);

    kernels.LayerNormBackward(d, embedded, embeddingNorm.Weight, statistics0, default, d, default, dEmbeddingNorm);
    kernels.EmbeddingBackward(masked, places, d, dItems, dPositions);
}

// The next piece of the buffers, drawn from a normal distribution.
(Tensor Value, Tensor Gradient) Parameter(int rows, int columns, double deviation = 0.05, float mean = 0)
{
    var value = new Tensor(parameters, end, rows, columns);
    value.Upload([.. Enumerable.Range(0, rows * columns).Select(_ => mean + (float)(deviation * Normal()))]);
    var gradient = new Tensor(gradients, end, rows, columns);
    end += value.Length;
    return (value, gradient);
}

(WeightAndBias Value, WeightAndBias Gradient) Linear(int outputs, int inputs)
{
    var (weight, dWeight) = Parameter(outputs, inputs);
    var (bias, dBias) = Parameter(1, outputs, 0);
    return (new(weight, bias), new(dWeight, dBias));
}

(WeightAndBias Value, WeightAndBias Gradient) Norm()
{
    var (gain, dGain) = Parameter(1, H, 0, 1);
    var (bias, dBias) = Parameter(1, H, 0);
    return (new(gain, bias), new(dGain, dBias));
}

double Normal() => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());

Tensor Activation(int rows, int columns) => new(kernels.AllocateFloats((long)rows * columns), 0, rows, columns);

Indices Integers(int length) => Indices.Of(kernels.AllocateInts(length));

static Tensor First(Tensor row, int count) => row with { Columns = count };
