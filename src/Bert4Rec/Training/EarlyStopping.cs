using System.Text.Json.Serialization;

namespace Bert4Rec.Training;

/// <summary>
/// Remembers the best validation, and says when none has paid for more than <c>stopping_step</c> validations: when none was better, by
/// <c>stopping_margin</c>, than the last that paid. Without a margin equalling the best counts, as in RecBole.
/// </summary>
internal sealed class EarlyStopping
{
    /// <summary>0 before the first validation, and for the model that a training began with.</summary>
    public int BestEpoch { get; set; }

    public double BestValue { get; set; }

    /// <summary>The last validation that paid.</summary>
    public double PaidValue { get; set; }

    /// <summary>Validations since then.</summary>
    public int Misses { get; set; }

    public Dictionary<string, double> BestMetrics { get; set; } = [];

    [JsonIgnore]
    public bool HasBest => BestMetrics.Count > 0;

    /// <summary>Takes a validation in; true if it is the best so far.</summary>
    public bool Observe(int epoch, double value, IReadOnlyDictionary<string, double> metrics, bool bigger, double margin = 0)
    {
        double toPay = PaidValue + (Math.Abs(PaidValue) * (bigger ? margin : -margin));
        // A share of 0 is 0: the same again is then no better.
        bool isSame = margin > 0 && value == PaidValue;
        if (!HasBest || (!isSame && (bigger ? value >= toPay : value <= toPay)))
            (PaidValue, Misses) = (value, 0);
        else
            Misses++;
        if (HasBest && (bigger ? value < BestValue : value > BestValue))
            return false;
        (BestEpoch, BestValue) = (epoch, value);
        BestMetrics = metrics.ToDictionary();
        return true;
    }

    public bool ShouldStop(int stoppingStep) => Misses > stoppingStep;
}

/// <summary>How far a run is: what a checkpoint holds beside the numbers.</summary>
internal sealed class TrainingProgress
{
    public int Epoch { get; set; }

    public int Step { get; set; }

    /// <summary>Of the lines of metrics.jsonl so far, but for their times.</summary>
    public string MetricsChecksum { get; set; } = "";

    public EarlyStopping Stopping { get; set; } = new();
}
