namespace Bert4Rec.Kernels.Reference;

// Adam (Kingma & Ba, 2015) as PyTorch computes it: a step against the running mean of the gradient, measured in units of its running size.

/// <summary>One step of Adam for one parameter; see <see cref="AdamStep"/>.</summary>
public static class Adam
{
    /// <param name="parameter">Before the step, as the moments.</param>
    /// <param name="gradient">Before it is clipped.</param>
    /// <param name="firstMoment">m</param>
    /// <param name="secondMoment">v</param>
    /// <param name="step">The step.</param>
    /// <param name="clip">Factor of the gradient.</param>
    /// <returns>The parameter and its two moments after the step.</returns>
    public static (double Parameter, double FirstMoment, double SecondMoment) Step(
        double parameter, double gradient, double firstMoment, double secondMoment, AdamStep step, double clip = 1)
    {
        double beta1 = step.Beta1, beta2 = step.Beta2;
        double g = (clip * gradient) + (step.WeightDecay * parameter);
        double m = (beta1 * firstMoment) + ((1 - beta1) * g);
        double v = (beta2 * secondMoment) + ((1 - beta2) * g * g);
        double mean = m / (1 - Math.Pow(beta1, step.Step));
        double size = Math.Sqrt(v / (1 - Math.Pow(beta2, step.Step)));
        return (parameter - (step.LearningRate * mean / (size + step.Epsilon)), m, v);
    }
}
