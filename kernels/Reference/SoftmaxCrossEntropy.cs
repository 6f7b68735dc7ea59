using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// The loss: how many nats the model's distribution over the catalogue spends on the event that happened. The output layer is the item table
// itself (tied weights), with a bias an item. For one row h whose event was item y:
//
//     z = E h + b,  softmax(z)[v] = exp(z[v]) / Σ exp(z),  loss = −log softmax(z)[y] = L − z[y],  L = log Σ exp(z)
//
// The forward keeps h and L.  ∂L/∂z[v] = exp(z[v]) / Σ exp(z) = exp(z[v] − L), the probability of v: the backward has it again
// without a sum over the catalogue.  ∂z[y]/∂z[v] is 1 for v = y, else 0.  So, with scale the gradient that arrives at every loss,
//
//     dz = scale (softmax(z) − onehot(y))
//
// and the rest is the backward of a linear layer:  dh = dz E,  dE = dzᵀ h,  db = Σ dz over the rows.

/// <summary>losses[m] = log Σ exp(score[m]) − score[m, targets[m]], score = h · itemsᵀ + bias.</summary>
public static class SoftmaxCrossEntropy
{
    /// <param name="h">[M, H]</param>
    /// <param name="items">[V, H], padding included.</param>
    /// <param name="bias">[V]</param>
    /// <param name="targets">[M]</param>
    /// <returns>Losses [M] and log Σ exp of the scores [M].</returns>
    public static (Vector<double> Losses, Vector<double> LogSumExp) Forward(
        Matrix<double> h, Matrix<double> items, Vector<double> bias, int[] targets)
    {
        var scores = Linear.Forward(h, items, bias);
        var logSumExp = RowLogSumExp(scores);
        return (logSumExp.MapIndexed((m, lse) => lse - scores[m, targets[m]]), logSumExp);
    }

    /// <param name="scale">The gradient of every loss: 1/M where the objective is their mean.</param>
    /// <param name="h">[M, H], as in the forward, like those below.</param>
    /// <param name="items">[V, H]</param>
    /// <param name="bias">[V]</param>
    /// <param name="targets">[M]</param>
    /// <param name="logSumExp">[M]</param>
    /// <returns>Dh [M, H], DItems [V, H] and DBias [V].</returns>
    public static (Matrix<double> Dh, Matrix<double> DItems, Vector<double> DBias) Backward(
        double scale, Matrix<double> h, Matrix<double> items, Vector<double> bias, int[] targets, Vector<double> logSumExp)
    {
        var scores = Linear.Forward(h, items, bias);
        var dScores = scores.MapIndexed((m, item, score) =>
        {
            double probability = Math.Exp(score - logSumExp[m]), onehot = item == targets[m] ? 1 : 0;
            return scale * (probability - onehot);
        });
        return Linear.Backward(dScores, h, items);
    }

    /// <summary>log Σ exp of each row, around the row's maximum so that exp cannot overflow.</summary>
    public static Vector<double> RowLogSumExp(Matrix<double> scores) =>
        Vector<double>.Build.DenseOfEnumerable(scores.EnumerateRows().Select(row =>
        {
            double maximum = row.Maximum();
            return maximum + Math.Log(row.Sum(score => Math.Exp(score - maximum)));
        }));
}
