using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// Adam (Kingma & Ba, 2015) as PyTorch computes it: a step against the running mean of the gradient, measured in units of its running size.
//
//     m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  θ ← θ − η m̂ / (√v̂ + ε)
//
// m and v start at 0, and after t steps their weights add up to 1 − βᵗ only: m̂ and v̂ are divided by that.
// No gradient: it ends here.
//
// A penalty λ/2 θ² in the loss adds λθ to g, and the division by √v̂ makes it weak where gradients are large. Decoupled (AdamW;
// Loshchilov & Hutter, 2019), λ stays out of g, and θ shrinks by ηλθ whatever the gradients are.

/// <summary>One step of Adam for one parameter; see <see cref="AdamStep"/>.</summary>
public static class Adam
{
    /// <param name="parameter">θ before the step.</param>
    /// <param name="gradient">Before it is clipped.</param>
    /// <param name="firstMoment">m before the step.</param>
    /// <param name="secondMoment">v before the step.</param>
    /// <param name="step">The number of the step, its length η and the decays.</param>
    /// <param name="clip">Factor of the gradient; see <see cref="Clip"/>.</param>
    /// <returns>The parameter and its two moments after the step.</returns>
    public static (double Parameter, double FirstMoment, double SecondMoment) Step(
        double parameter, double gradient, double firstMoment, double secondMoment, AdamStep step, double clip = 1)
    {
        double beta1 = step.Beta1, beta2 = step.Beta2;
        double decay = step.WeightDecay * parameter;
        double g = (clip * gradient) + (step.DecoupledDecay ? 0 : decay);
        double m = (beta1 * firstMoment) + ((1 - beta1) * g);
        double v = (beta2 * secondMoment) + ((1 - beta2) * g * g);
        double mean = m / (1 - Math.Pow(beta1, step.Step));
        double size = Math.Sqrt(v / (1 - Math.Pow(beta2, step.Step)));
        double direction = (mean / (size + step.Epsilon)) + (step.DecoupledDecay ? decay : 0);
        return (parameter - (step.LearningRate * direction), m, v);
    }

    /// <summary>Steps row rows[m] of a table with row m of the gradients; the other rows and their moments stay.</summary>
    /// <param name="parameters">[V, H]</param>
    /// <param name="rows">[M], none of them twice.</param>
    /// <param name="gradients">[M, H]</param>
    /// <param name="firstMoments">[V, H]</param>
    /// <param name="secondMoments">[V, H]</param>
    /// <param name="step">As in <see cref="Step"/>.</param>
    /// <param name="clip">Factor of the gradients.</param>
    /// <returns>The three tables after the step.</returns>
    public static (Matrix<double> Parameters, Matrix<double> FirstMoments, Matrix<double> SecondMoments) StepRows(
        Matrix<double> parameters,
        int[] rows,
        Matrix<double> gradients,
        Matrix<double> firstMoments,
        Matrix<double> secondMoments,
        AdamStep step,
        double clip = 1)
    {
        var (p, m, v) = (parameters.Clone(), firstMoments.Clone(), secondMoments.Clone());
        foreach (var (i, j, gradient) in gradients.EnumerateIndexed())
        {
            int row = rows[i];
            (p[row, j], m[row, j], v[row, j]) = Step(p[row, j], gradient, m[row, j], v[row, j], step, clip);
        }
        return (p, m, v);
    }

    /// <summary>√(Σ g²) over all elements of the gradient.</summary>
    public static double GradientNorm(IEnumerable<double> gradient) => Math.Sqrt(gradient.Sum(value => value * value));

    /// <summary>The factor that brings a gradient of this norm down to the maximum; 1 where it is below.</summary>
    public static double Clip(double norm, double maximum) => norm > maximum ? maximum / (norm + 1e-6) : 1;
}
