using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// The loss: how many nats the model's distribution over the catalogue spends on the event that happened. The output layer is the item table
// itself (tied weights), with a bias an item.

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
        var logSumExp = LogSumExp(scores);
        return (logSumExp.MapIndexed((m, lse) => lse - scores[m, targets[m]]), logSumExp);
    }

    /// <summary>log Σ exp of each row, around the row's maximum so that exp cannot overflow.</summary>
    public static Vector<double> LogSumExp(Matrix<double> scores) =>
        Vector<double>.Build.DenseOfEnumerable(scores.EnumerateRows().Select(row =>
        {
            double maximum = row.Maximum();
            return maximum + Math.Log(row.Sum(score => Math.Exp(score - maximum)));
        }));
}
